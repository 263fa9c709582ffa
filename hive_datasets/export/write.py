"""Rendering mixtures to files, in worker processes, so that an interrupted run goes on where it was."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..dataset import Subset, as_subset
from ..errors import OutputError, SourceError
from ..mixing import Alignment, Mixer, Stems
from ..mixing.literal import LiteralMixer
from ..recipe.parsing import normalize_split
from ..utils.files import written_aside
from ..utils.progress import Progress, no_progress
from ..utils.workers import map_in_processes
from .containers import CONTAINERS
from .encoding import Encoding
from .plan import PlannedShard, Shard, iterate_shards
from .samples import Skipped, check_roots
from .shard import ShardWriter
from .target import ShardRecord, Target, parse_folder

#: Mixtures of a tar of the authors.
MIXTURES_PER_SHARD = 1000
#: The list of mixtures that could not be rendered.
SKIPPED_NAME = "skipped.csv"
#: So long is planned, in seconds, before the first shard is begun, unless that is all.
_PLANNING_SECONDS = 2.0


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        mixtures: how many are in the shards, kept ones included.
        shards: how many shards there are.
        kept: how many of them were there already.
        num_bytes: size of all shards; of a dry run, of those that it would write: exact for WAV in folders, and in tars
            where names have less than 100 characters, all ASCII.
        clipped_mixtures, clipped_samples: how many mixtures had samples beyond full scale, and how many samples.
        skipped: the mixtures that could not be rendered.
        others: shards that were written before into the same folders, and hold other mixtures.
        damaged: how many shards `verify` found that had not the bytes that were written.
    """

    folder: Path
    mixtures: int
    shards: int
    kept: int
    num_bytes: int
    clipped_mixtures: int = 0
    clipped_samples: int = 0
    skipped: tuple[Skipped, ...] = ()
    others: tuple[str, ...] = ()
    damaged: int = 0


def write_mixtures(
    mixtures: Subset | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    *,
    to: Literal["tar", "parquet", "folder"] = "tar",
    audio: Literal["wav", "flac"] = "wav",
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = "PCM_16",
    stems: Stems = "scaled",
    sampling_rate: int | None = None,
    alignment: Alignment = "authors",
    dataset_paths: Any = None,
    prepared: Any = None,
    mixtures_per_shard: int = MIXTURES_PER_SHARD,
    num_workers: int = 1,
    on_error: Literal["skip", "raise"] = "skip",
    like_authors: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Export:
    """Render mixtures to shards ``{split}/{n}mix/tar_00001.tar``, ..., in the authors' layout.

    A shard appears when it is whole, and is kept by the next run if it was made of the same recipes. Two runs with
    different numbers of workers write the same bytes.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        folder: where to; new, empty, or written to before with the same options.
        to: "tar" (members ``{mix_id}.mix.wav``, ``.s1.wav``, ..., ``.json``), "folder" (the same as files) or "parquet"
            (a row a mixture, its audio as bytes).
        audio: "wav" or "flac".
        subtype: "PCM_16", "PCM_24" or, of WAV, "FLOAT". PCM is rounded; what is beyond full scale is clipped.
        stems: "scaled", so that they sum to the mixture, or "unscaled", as the authors render them.
        sampling_rate: rate in Hz to render at; None for the recipes'.
        alignment: at another rate than the metadata's, as for `Mixer`.
        dataset_paths: where the corpora are, as `load_dataset` takes it.
        prepared: prepared sources, as for `Mixer`.
        mixtures_per_shard: how many.
        num_workers: processes that render; with several, the calling script needs ``if __name__ == "__main__":``.
        on_error: "skip" leaves out mixtures that cannot be rendered, and lists them in ``skipped.csv``; the next run
            tries them again. "raise" ends at the first.
        like_authors: byte for byte what the authors' own script writes: float64, stems unscaled, WAV rounded down,
            folders ``val`` for "validation", and their JSON, without the recipe. It takes four times as long.
        overwrite: whether shards that are there and were made of other recipes may be replaced.
        verify: compare the shards that are there with what was written, by a hash of their bytes, and make those again
            that differ.
        dry_run: only tell what would be written.
        progress: told how far it is.

    Raises:
        ValueError: an option is out of range.
        MetadataUnavailableError, RecipeError, UnknownLabelError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: no roots are configured.
        SourceError: a source cannot be read, if `on_error` is "raise"; or no mixture at all could be rendered.
        OutputError: the folder holds something else, or shards of other recipes; it cannot be written; or there is not
            enough space.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> subset = hive_datasets.Subset(demo / "metadata", splits=["train"])
        >>> export = write_mixtures(subset, tempfile.mkdtemp(), dataset_paths=demo / "sources")
        >>> export.mixtures, sorted(str(file.relative_to(export.folder)) for file in export.folder.glob("*/*/*.tar"))
        (24, ['train/2mix/tar_00001.tar', 'train/3mix/tar_00001.tar', 'train/4mix/tar_00001.tar',
        'train/5mix/tar_00001.tar'])
    """
    if to not in CONTAINERS:
        raise ValueError(f"to must be one of {', '.join(CONTAINERS)}, not {to!r}")
    if audio not in ("wav", "flac"):
        raise ValueError(f"audio must be wav or flac, not {audio!r}")
    if on_error not in ("skip", "raise"):
        raise ValueError(f"on_error must be 'skip' or 'raise', not {on_error!r}")
    if mixtures_per_shard < 1 or num_workers < 1:
        raise ValueError(f"mixtures_per_shard and num_workers must be at least 1: {mixtures_per_shard}, {num_workers}")
    encoding = Encoding(audio, subtype, is_rounded=not like_authors)
    if like_authors:
        if (audio, subtype, sampling_rate, prepared or None) != ("wav", "PCM_16", None, None) or to == "parquet":
            raise ValueError(
                "like_authors is 16-bit WAV in tars or folders, at the metadata's rate and from originals: leave "
                "audio=, subtype=, sampling_rate= and prepared= out"
            )
        stems = "unscaled"
    mixer = (
        LiteralMixer(dataset_paths) if like_authors else Mixer(dataset_paths, sampling_rate, stems, prepared, alignment)
    )
    options = {
        "to": to,
        "audio": audio,
        "subtype": subtype,
        "stems": stems,
        "sampling_rate": sampling_rate,
        "alignment": alignment,
        "mixtures_per_shard": mixtures_per_shard,
        "like_authors": like_authors,
    }
    target = Target(parse_folder(folder), options)
    target.check()
    if not dry_run:
        check_roots(mixer)
    run = _Run(
        as_subset(mixtures),
        ShardWriter(target, mixer, encoding, CONTAINERS[to], on_error == "skip", like_authors),
        mixtures_per_shard,
        progress,
    )
    if dry_run:
        run.plan(overwrite, verify)
        return run.expected()
    with target.opened():
        try:
            run.write(num_workers, overwrite, verify)
        finally:
            target.remove_unfinished()
        return run.finish()


class _Run:
    """One call of `write_mixtures`.

    Planning goes on in a thread while shards are rendered: of 5,000,000 mixtures it takes most of a minute. Nothing is
    begun before it is known what becomes of every shard that is there, nor in the first moments, in which most runs are
    planned to the end.
    """

    def __init__(self, subset: Subset, writer: ShardWriter, mixtures_per_shard: int, progress: Progress) -> None:
        self.subset, self.writer, self.progress = subset, writer, progress
        self.mixtures_per_shard = mixtures_per_shard
        self.planned: dict[str, PlannedShard] = {}
        #: What was there before this run, and what is there now.
        self.before: dict[str, ShardRecord] = {}
        self.records: dict[str, ShardRecord] = {}
        #: What was there, and had other bytes than were written.
        self.damaged: list[str] = []
        #: Shards that are there and hold other mixtures.
        self.replaced: list[str] = []
        #: Bytes of the shards that are to be made, and of those of them that are not there in any form.
        self._todo_bytes = self._missing_bytes = 0
        self._news = threading.Condition()
        self._is_planned = self._is_over = False
        self._failure: BaseException | None = None

    def plan(self, overwrite: bool, verify: bool) -> None:
        """Find out what the shards will be, and which are there."""
        with self.progress("planning", "mixtures", None) as advance:
            for planned in self._iterate_planned(verify):
                advance(planned.mixtures)
        self._check_replaced(overwrite)

    def write(self, num_workers: int, overwrite: bool, verify: bool) -> None:
        """Write the shards that are not there, and those that lack mixtures which can be rendered now."""
        planner = threading.Thread(target=self._plan_ahead, args=(verify,), daemon=True)
        planner.start()
        try:
            self._wait_for_what_is_there()
            self._check_replaced(overwrite)  # all that is there is planned by now
            self._render(num_workers)
        finally:
            self._is_over = True
            planner.join()
        self.records = {**self.before, **self.records}

    def _render(self, num_workers: int) -> None:
        todo = self._iterate_todo()
        for first in todo:  # or there is nothing to be told
            if self._is_planned:
                num_workers = min(num_workers, sum(map(self._is_todo, self.planned)))
            with self.progress("rendering", "bytes", self._total) as advance:
                shards = itertools.chain([first], todo)
                for record in map_in_processes(self.writer.write, shards, num_workers, advance):
                    self.records[record.name] = record

    def _check_replaced(self, overwrite: bool) -> None:
        if self.replaced and not overwrite:
            raise OutputError(
                f"{self.writer.target.folder} holds other mixtures where these would go, in {self.replaced[0]}"
                + (f" and {len(self.replaced) - 1:,} more. " if len(self.replaced) > 1 else ". ")
                + "Choose another folder, or let them be replaced: overwrite=True."
            )

    def _iterate_planned(self, verify: bool) -> Iterator[PlannedShard]:
        target = self.writer.target
        for shard in self._iterate_shards():
            planned = self.writer.plan(shard)
            record = target.find(planned)
            if record is not None and verify and not target.is_intact(record):
                self.damaged.append(planned.name)
            elif record is not None:
                self.before[planned.name] = record
            else:
                other = target.find_other(planned)
                if other is not None and not self.writer.extends(shard, other):
                    self.replaced.append(planned.name)
            if planned.name not in self.before:
                self._missing_bytes += planned.num_bytes
            self.planned[planned.name] = planned
            if self._is_todo(planned.name):
                self._todo_bytes += planned.num_bytes
            yield planned

    def _plan_ahead(self, verify: bool) -> None:
        """In a thread: plan to the end, or until the run is over."""
        target, failure = self.writer.target, None
        is_exact = self.writer.encoding.is_exact and self.writer.container.is_exact
        try:
            free = shutil.disk_usage(target.folder).free
            for _ in self._iterate_planned(verify):
                with self._news:
                    self._news.notify_all()
                if self._is_over:
                    return
            if is_exact and self._missing_bytes > free:
                raise OutputError(
                    f"{target.folder} has {free / 1e6:,.0f} MB free, and {self._missing_bytes / 1e6:,.0f} MB are "
                    "needed. Choose fewer mixtures (limit=, num_sources=), FLAC, a lower rate, or another disk."
                )
        except BaseException as error:
            failure = error
        with self._news:
            self._failure, self._is_planned = failure, True
            self._news.notify_all()

    def _wait_for_what_is_there(self) -> None:
        """Wait until all is planned; at least, for a moment, and until all shards are that are in the folder."""
        there = {record.name for record in self.writer.target.records()}
        end, told = time.monotonic() + _PLANNING_SECONDS, 0
        with self.progress("planning", "mixtures", None) as advance, self._news:
            while not self._is_planned and (time.monotonic() < end or not there <= self.planned.keys()):
                self._news.wait(0.1)
                seen = sum(planned.mixtures for planned in list(self.planned.values()))
                advance(seen - told)
                told = seen
        self._check()

    def _iterate_todo(self) -> Iterator[Shard]:
        """The shards that are to be written, each as soon as it is planned."""
        for shard in self._iterate_shards():
            name = self.writer.name_of(shard)
            with self._news:
                while name not in self.planned and not self._is_planned:
                    self._news.wait(0.1)
            self._check()
            if self._is_todo(name):
                if name in self.damaged:
                    self.writer.target.forget(name)
                yield shard

    def _is_todo(self, name: str) -> bool:
        return name not in self.before or bool(self.before[name].skipped)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _total(self) -> int | None:
        """The bytes that are to be rendered, once that is known."""
        return self._todo_bytes if self._is_planned else None

    def finish(self) -> Export:
        """Write the list of what shards in the folder lack, other runs' too; returns what is there.

        Raises:
            SourceError: not one mixture could be rendered.
        """
        result = self.result()
        file = result.folder / SKIPPED_NAME
        if result.skipped and not result.mixtures:
            raise SourceError(
                f"not one of {len(result.skipped):,} mixtures could be rendered. The first: {result.skipped[0].reason}"
            )
        there = {record.name: record for record in self.writer.target.records()} | self.records
        lacking = [skipped for _, record in sorted(there.items()) for skipped in _skipped_of(record)]
        if not lacking:
            file.unlink(missing_ok=True)
            return result
        with (
            written_aside(file) as aside,
            aside.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out,
        ):
            rows = csv.writer(out)
            rows.writerow(["split", "mix_id", "reason"])
            rows.writerows([each.split, each.mix_id, each.reason] for each in lacking)
        return result

    def result(self) -> Export:
        """What is there."""
        records = [self.records[name] for name in self.planned if name in self.records]
        return Export(
            folder=self.writer.target.folder,
            mixtures=sum(record.mixtures for record in records),
            shards=sum(record.mixtures > 0 for record in records),
            kept=sum(record == self.before.get(record.name) for record in records),
            num_bytes=sum(record.num_bytes for record in records),
            clipped_mixtures=sum(record.clipped_mixtures for record in records),
            clipped_samples=sum(record.clipped_samples for record in records),
            skipped=tuple(skipped for record in records for skipped in _skipped_of(record)),
            others=tuple(self.writer.target.list_others(set(self.planned))),
            damaged=len(self.damaged),
        )

    def expected(self) -> Export:
        """What `write` would do."""
        todo = [planned for name, planned in self.planned.items() if name not in self.before]
        return Export(
            self.writer.target.folder,
            mixtures=sum(planned.mixtures for planned in self.planned.values()),
            shards=len(self.planned),
            kept=len(self.before),
            num_bytes=sum(planned.num_bytes for planned in todo),
            damaged=len(self.damaged),
        )

    def _iterate_shards(self) -> Iterator[Shard]:
        return iterate_shards(self.subset.tables(self.writer.mixer), self.mixtures_per_shard)


def _skipped_of(record: ShardRecord) -> list[Skipped]:
    split = normalize_split(record.name.partition("/")[0])
    return [Skipped(split, mix_id, reason) for mix_id, reason in record.skipped]
