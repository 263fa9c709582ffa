"""Preparing sources: every chunk that metadata needs, decoded and resampled once, in shards with an index.

What is already there is kept, and new shards are added, so that one that was interrupted goes on, and other metadata,
or corpora that came later, add what they need.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..dataset import Subset, as_subset
from ..errors import (
    PreparedSourcesError,
    SourceError,
    SourceRootError,
)
from ..mixing import Mixer
from ..mixing.reading import read_frames
from ..prepared import PreparedSources, samples
from ..prepared.samples import SAMPLE_TYPES, SampleType
from ..prepared.shards import PreparedClip
from ..sources import Roots, find_roots, parse_roots
from ..sources.catalogue import Catalogue, LocatedSource, read_in_order
from ..utils.progress import Progress, count_items, no_progress
from ..utils.tables import write_csv
from ..utils.threads import ITEMS_AHEAD, map_in_threads
from .clips import Clip, collect_clips, iterate_clips
from .coarse import CoarseClips
from .target import Target

#: Bytes of a shard: a few hundred shards hold all of Hive, and what is lost when interrupted is soon made again.
SHARD_BYTES = 2 << 30
#: Of files that are read together with others, so many wait in memory.
_FILES_AHEAD = 32
#: The list of what could not be prepared.
LACKING_NAME = "lacking.csv"


@dataclass(frozen=True, slots=True)
class Lacking:
    """A clip that could not be prepared, and why."""

    clip: Clip
    reason: str


class _Task(NamedTuple):
    """A clip to make; its file, if that was read together with others; or why that could not be."""

    clip: Clip
    located: LocatedSource | None = None
    error: SourceError | None = None


@dataclass(frozen=True)
class Preparation:
    """What was prepared.

    Attributes:
        folder: where.
        clips: how many clips the metadata needs that are there.
        written: how many of them this run has made; of a dry run, would make.
        num_bytes: of the samples that it made, or would make.
        needed: how many clips the metadata needs.
        refined: how many it stored once more, as float32, for mixtures that would else differ by more than one step.
        damaged: how many clips `verify` found that were not what was prepared.
        lacking: the clips that could not be prepared.
        mixtures: how many mixtures the metadata has.
    """

    folder: Path
    clips: int
    written: int
    num_bytes: int
    needed: int
    refined: int
    damaged: int
    lacking: tuple[Lacking, ...]
    mixtures: int


def prepare_sources(
    mixtures: Subset | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    *,
    sampling_rate: int = 44100,
    dataset_paths: Any = None,
    only_crops: bool = False,
    sample_type: SampleType = "int16",
    num_workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    verify: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Preparation:
    """Decode and resample every chunk that mixtures need, once, for ``load_dataset("hive", prepared=folder)``.

    What is in the folder already is kept, unless its file has changed; so an interrupted run goes on where it was.
    Shards appear when they are whole. Sources that cannot be read are listed in ``lacking.csv``.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        folder: where to.
        sampling_rate: rate in Hz to resample to.
        dataset_paths: where the corpora are, as `load_dataset` takes it.
        only_crops: only the samples that their crops need, not whole chunks.
        sample_type: "int16" differs by at most one 16-bit step in any of these mixtures; "float32" by nothing;
            "float16" by 2**-12 of each sample.
        num_workers: files read at once; None for as many as there are cores.
        shard_bytes: size of a file, about.
        verify: compare what is there with its checksums, and make it again where they differ.
        dry_run: only tell what would be done.
        progress: told how far it is.

    Raises:
        ValueError: an option is out of range.
        MetadataUnavailableError, RecipeError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: no roots are configured.
        PreparedSourcesError: the folder holds something else, or another process is preparing into it, or there is
            not enough space.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> demo, folder = hive_datasets.demo_folder(), tempfile.mkdtemp()
        >>> subset = hive_datasets.Subset(demo / "metadata", splits=["train"])
        >>> result = prepare_sources(subset, folder, dataset_paths=demo / "sources")
        >>> result.mixtures, result.clips == result.written, result.lacking
        (24, True, ())
        >>> mixer = hive_datasets.Mixer(prepared=folder)
        >>> mixer(next(hive_datasets.read_recipes(demo / "metadata" / "train")))["mix"].shape
        (176400,)
    """
    if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, int) or sampling_rate < 1:
        raise ValueError(f"sampling_rate must be a positive number of Hz, not {sampling_rate!r}")
    if sample_type not in SAMPLE_TYPES:
        raise ValueError(f"sample_type must be one of {', '.join(SAMPLE_TYPES)}, not {sample_type!r}")
    if (num_workers is not None and num_workers < 1) or shard_bytes < 1:
        raise ValueError(f"num_workers and shard_bytes must be at least 1, not {num_workers}, {shard_bytes}")
    if "://" in os.fspath(folder):
        raise ValueError(f"{folder} is a URL: prepare into a local folder, and upload that")
    if verify and dry_run:
        raise ValueError("verify and dry_run exclude each other: a dry run reads nothing")
    given: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
    run = _Run(
        target=Target(Path(folder).expanduser(), sampling_rate, sample_type),
        tables=functools.partial(as_subset(mixtures).tables, Mixer(given, sampling_rate, prepared=False)),
        catalogue=Catalogue(find_roots(given), or_sequential=True, progress=progress),
        num_workers=num_workers or os.cpu_count() or 1,
        shard_bytes=shard_bytes,
        progress=progress,
    )
    run.collect(only_crops)
    with run.target.opened(dry_run):
        run.plan(verify)
        if not dry_run:
            run.write()
            run.refine()
            run.finish()
    return run.result


@dataclass
class _Run:
    target: Target
    tables: Callable[[], Iterator[pa.Table]]
    catalogue: Catalogue
    num_workers: int
    shard_bytes: int
    progress: Progress
    mixtures: int = 0
    clips: Any = None
    #: How many clips are there, are to be made or were, and were made more finely.
    kept: int = 0
    todo: Any = None
    written: int = 0
    refined: int = 0
    damaged: int = 0
    num_bytes: int = 0
    lacking: list[Lacking] = field(default_factory=list)
    #: Files that must be read in their own order, by their metadata paths.
    in_order: dict[str, LocatedSource] = field(default_factory=dict)

    @property
    def result(self) -> Preparation:
        return Preparation(
            self.target.folder,
            self.kept + self.written,
            self.written,
            self.num_bytes,
            len(self.clips),
            self.refined,
            self.damaged,
            tuple(self.lacking),
            self.mixtures,
        )

    def collect(self, only_crops: bool) -> None:
        """Find out what is needed."""
        with self.progress("reading metadata", "mixtures", None) as advance:

            def count(done: int) -> None:
                self.mixtures += done
                advance(done)

            self.clips = collect_clips(count_items(self.tables(), count), self.target.sampling_rate, only_crops)

    def plan(self, verify: bool) -> None:
        """Find out what of it is there, and what can be made."""
        prepared = self.target.prepared() if verify else None
        is_todo = np.zeros(len(self.clips), dtype=bool)
        with self.progress("looking for clips", "clips", len(self.clips)) as advance:
            clips = count_items(enumerate(iterate_clips(self.clips)), advance, 1000)
            for path, group in itertools.groupby(clips, key=lambda item: item[1].path):
                located, reason = self._locate(path)
                identity = None if located is None else _identify(located)
                if located is not None and located.is_sequential:
                    self.in_order[path] = located
                for position, clip in group:
                    if self._is_there(clip, identity, prepared):
                        self.kept += 1
                    elif located is None:
                        self.lacking.append(Lacking(clip, reason))
                    else:
                        is_todo[position] = True
        self.todo = self.clips.filter(pa.array(is_todo))
        self.written = len(self.todo)
        self.num_bytes = sum(map(self._bytes_of, iterate_clips(self.todo)))

    def write(self) -> None:
        """Make what is not there."""
        free = shutil.disk_usage(self.target.folder).free
        if self.num_bytes > free:
            raise PreparedSourcesError(
                f"{self.target.folder} has {free / 1e6:,.0f} MB free, and {self.num_bytes / 1e6:,.0f} MB are needed. "
                "Choose fewer mixtures, only their crops (only_crops=True), a lower rate, or another disk."
            )
        self.written, total, self.num_bytes = 0, self.num_bytes, 0
        with self.progress("preparing", "bytes", total) as advance:
            for tasks in self._by_shard(self._order(iterate_clips(self.todo))):
                made = self._make(tasks, self.target.sample_type, advance)
                self.written += self.target.add(made, self.target.sample_type)
        self.target.update_index()

    def refine(self) -> None:
        """Make again, as float32, what is too coarse for some mixture."""
        if self.target.sample_type != "int16":
            return
        finder = CoarseClips(self.target.prepared())
        with self.progress("checking precision", "mixtures", self.mixtures) as advance:
            for table in count_items(self.tables(), advance):
                finder.add(table)
        clips = finder.clips()
        if clips:
            with self.progress("refining", "bytes", sum(map(self._bytes_of, clips)) * 2) as advance:
                for tasks in self._by_shard(self._order(clips)):
                    self.refined += self.target.add(self._make(tasks, "float32", advance), "float32")
            self.target.update_index()

    def finish(self) -> None:
        """Write the list of what is lacking."""
        head = ("path", "chunk_start_second", "chunk_end_second", "reason")
        clips = ((*dataclasses.astuple(lacking.clip)[:3], lacking.reason) for lacking in self.lacking)
        write_csv(self.target.folder / LACKING_NAME, [head, *clips])

    def _locate(self, path: str) -> tuple[LocatedSource | None, str]:
        try:
            located = self.catalogue.locate(path)
        except (SourceError, SourceRootError) as error:
            return None, error.message
        self.catalogue.warn(located)
        return located, ""

    def _is_there(self, clip: Clip, identity: tuple[int, int] | None, prepared: PreparedSources | None) -> bool:
        """Whether a clip was prepared, its file has not changed since and, if asked, it is whole."""
        key = (clip.path, clip.chunk_start_second, clip.chunk_end_second)
        row = self.target.index.find(*key, clip.start, clip.stop)
        if row < 0:
            return False
        entry = self.target.index.entry(row)
        if identity is not None and identity != (entry.source_size, entry.source_version):
            return False
        if prepared is None or prepared.is_whole(row, clip.to_source()):
            return True
        self.damaged += 1
        return False

    def _order(self, clips: Iterable[Clip]) -> Iterator[_Task]:
        """Clips, and those of files that must be read in their own order as they come."""
        left: dict[str, list[Clip]] = {}
        for clip in clips:
            if clip.path in self.in_order:
                left.setdefault(clip.path, []).append(clip)
            else:
                yield _Task(clip)
        for found in read_in_order([self.in_order[path] for path in left]):
            located, error = found if isinstance(found, tuple) else (found, None)
            for clip in left.pop(located.path):
                yield _Task(clip, located, error)

    def _make(
        self, tasks: Iterable[_Task], sample_type: SampleType, advance: Callable[[int], Any]
    ) -> Iterator[PreparedClip]:
        make = functools.partial(self._make_one, sample_type=sample_type)
        # of files that come a group at a time, enough for all threads until the next group is there
        ahead = max(ITEMS_AHEAD, _FILES_AHEAD // self.num_workers) if self.in_order else ITEMS_AHEAD
        for made in map_in_threads(make, tasks, self.num_workers, ahead):
            if isinstance(made, Lacking):
                advance(self._bytes_of(made.clip))
                self.lacking.append(made)
            else:
                advance(made.samples.nbytes)
                self.num_bytes += made.samples.nbytes
                yield made

    def _make_one(self, task: _Task, sample_type: SampleType) -> PreparedClip | Lacking:
        rate, clip = self.target.sampling_rate, task.clip
        try:
            if task.error is not None:
                raise task.error
            located = task.located or self.catalogue.locate(clip.path)
            identity = _identify(located)
            reading = read_frames(located, clip.to_source(), rate, clip.start, clip.stop)
        except (SourceError, SourceRootError) as error:
            return Lacking(clip, error.message)
        signal = np.zeros(reading.excerpt.length, np.float32)
        resampled = reading.resample(rate)
        signal[: len(resampled)] = resampled
        if not np.isfinite(signal).all():
            return Lacking(clip, "it has samples that are not numbers")
        with np.errstate(over="ignore"):
            stored, steps = samples.encode(signal, sample_type)
        if not np.isfinite(stored).all():
            return Lacking(clip, f"its peak of {np.abs(signal).max():.3g} is too much for {sample_type}")
        errors = samples.errors_of(signal, stored, steps)
        return PreparedClip(
            path=clip.path,
            chunk_start_second=clip.chunk_start_second,
            chunk_end_second=clip.chunk_end_second,
            start=clip.start,
            chunk_samples=reading.excerpt.chunk_samples,
            source_size=identity[0] if identity else -1,
            source_version=identity[1] if identity else 0,
            largest_error=float(errors.max(initial=0.0)),
            samples=stored,
            steps=steps,
            errors=errors,
        )

    def _by_shard(self, tasks: Iterator[_Task]) -> Iterator[Iterator[_Task]]:
        """Tasks in groups of the size of a shard, each of which must be gone through before the next."""

        def fill(tasks: Iterable[_Task]) -> Iterator[_Task]:
            size = 0
            for task in tasks:
                yield task
                size += self._bytes_of(task.clip)
                if size >= self.shard_bytes:
                    return

        for first in tasks:
            yield fill(itertools.chain([first], tasks))

    def _bytes_of(self, clip: Clip) -> int:
        return clip.max_samples(self.target.sampling_rate) * np.dtype(self.target.sample_type).itemsize


def _identify(located: LocatedSource) -> tuple[int, int] | None:
    """The size and version of a file; None if they cannot be had."""
    try:
        return located.identity()
    except OSError:
        return None
