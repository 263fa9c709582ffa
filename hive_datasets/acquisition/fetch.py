"""Fetching from where the corpora are published what mixtures need, and only that where the layout allows.

Files come to lie under the metadata's own names, each when it is whole; what is there already is not fetched again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from ..dataset import Subset, as_subset
from ..errors import (
    HiveError,
    MetadataUnavailableError,
    OutputError,
    SourceError,
    SourceRootError,
    describe,
)
from ..sources import Roots, find_corpus
from ..sources.catalogue import Catalogue, LocatedSource, read_in_order
from ..sources.corpora import title_of
from ..sources.published import SCHEME, find_published
from ..sources.servers import ask_for
from ..sources.variants import is_video
from ..utils.files import locked
from ..utils.progress import Progress, count_items, no_progress
from ..utils.tables import write_csv
from ..utils.threads import map_in_threads
from ..verification.needs import corpus_of
from .demand import collect_demand
from .needs import estimate_download

#: Files read at once: servers are far.
DEFAULT_JOBS = 8
#: The list of what could not be fetched, and the folder where files are before they are whole.
LACKING_NAME, _ASIDE_NAME = "lacking.csv", ".fetching"
#: Kept free on the disk.
_SPARE_BYTES = 64 << 20
#: Files whose checksums the Hub is asked for at once.
_ASKED_AT_ONCE = 500


@dataclass(frozen=True)
class Fetching:
    """What was fetched.

    Attributes:
        folder: where to: a root that holds all corpora.
        needed: how many files the mixtures need of the corpora.
        there: how many of them were there before.
        written: how many were fetched; of a dry run, would be.
        num_bytes: their bytes, about.
        download_bytes: what has to be read for them, about: more, where files can only be had together with others.
        lacking: those that could not be, and why.
        by_hand: corpora that were asked for as part of all, and that no program may get: title, and what to do.
    """

    folder: Path
    needed: int
    there: int
    written: int
    num_bytes: int
    download_bytes: int
    lacking: tuple[tuple[str, str], ...]
    by_hand: tuple[tuple[str, str], ...] = ()


def fetch_sources(
    mixtures: Subset | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    corpora: Collection[str] | None = None,
    *,
    published_at: str | os.PathLike[str] | None = None,
    num_workers: int = DEFAULT_JOBS,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Fetching:
    """Fetch the source files that mixtures need from where their corpora are published.

    Of zips, parquet and single files only what is needed is downloaded; compressed archives are downloaded whole, gone
    through and removed, one by one. Run it again to go on.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        folder: where to; afterwards a root that holds all corpora.
        corpora: which, by any of their names; None for all that the mixtures need.
        published_at: a folder, archive or URL to take one corpus from instead: a download of your own, or a mirror.
        num_workers: files read at once.
        dry_run: only tell what would be done.
        progress: told how far it is.

    Raises:
        MetadataUnavailableError, RecipeError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: a corpus is published nowhere, or not for programs.
        SourceUnreachableError: a server cannot be reached; what was fetched is kept.
        OutputError: there is no space, or another process is fetching into the folder.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, not {num_workers}")
    with progress("reading metadata", "mixtures", None) as advance:
        demand = collect_demand(count_items(as_subset(mixtures).tables(), advance))
    prefixes = _choose(demand.prefixes, corpora)
    if published_at is not None and len(prefixes) != 1:
        raise SourceRootError(f"{published_at} is of one corpus, and these are {len(prefixes)}: name the one")
    place = None if published_at is None else os.fspath(published_at)
    roots = Roots(tuple((prefix, _root_of(prefix, place)) for prefix in prefixes), origin="where it is published")
    catalogue = Catalogue(roots, or_sequential=True, progress=progress)
    wanted = [path for path in demand.paths.to_pylist() if corpus_of(path) in prefixes]
    run = _Run(Path(folder).expanduser(), catalogue, num_workers, progress, needed=len(wanted))
    run.plan(wanted)
    if not dry_run:
        with run.opened():
            run.write()
            run.finish()
    left_out = [] if corpora is not None else [prefix for prefix in demand.prefixes if prefix not in prefixes]
    return replace(run.result, by_hand=tuple((title_of(prefix), _explain_hand(prefix)) for prefix in left_out))


def _choose(prefixes: list[str], corpora: Collection[str] | None) -> list[str]:
    """The corpora to fetch, by the first components of their paths."""
    if corpora is None:
        return [prefix for prefix in prefixes if _is_fetchable(prefix)]
    chosen = []
    for name in corpora:
        corpus = find_corpus(name)
        found = [prefix for prefix in prefixes if prefix == name or (corpus and find_corpus(prefix) == corpus)]
        if not found:
            known = ", ".join(sorted(map(title_of, prefixes)))
            raise MetadataUnavailableError(f"no mixture has sources of {name}; there are {known}")
        chosen += found
    return list(dict.fromkeys(chosen))


def _is_fetchable(prefix: str) -> bool:
    published = find_published(prefix)
    return published is not None and not published.is_by_hand


def _root_of(prefix: str, place: str | None) -> str:
    if place is not None:
        return place if "://" in place else os.path.abspath(os.path.expanduser(place))
    published = find_published(prefix)
    if published is None or published.is_by_hand:
        raise SourceRootError(f"{title_of(prefix)} cannot be fetched by a program. {_explain_hand(prefix)}")
    return SCHEME + published.corpus


def _explain_hand(prefix: str) -> str:
    published = find_published(prefix)
    return published.note if published else "Where it is published is not known: name a copy of it with --from."


@dataclass
class _Run:
    folder: Path
    catalogue: Catalogue
    num_workers: int
    progress: Progress
    needed: int
    there: int = 0
    written: int = 0
    num_bytes: int = 0
    download_bytes: int = 0
    single: list[LocatedSource] = field(default_factory=list)
    in_order: list[LocatedSource] = field(default_factory=list)
    lacking: list[tuple[str, str]] = field(default_factory=list)

    @property
    def result(self) -> Fetching:
        counts = self.needed, self.there, self.written, self.num_bytes, self.download_bytes
        return Fetching(self.folder, *counts, tuple(self.lacking))

    def plan(self, paths: list[str]) -> None:
        """Find out what is there, and where the rest is."""
        with self.progress("looking for files", "files", len(paths)) as advance:
            for path in count_items(paths, advance, 100):
                if any(place.is_file() for place in self._places(path)):
                    self.there += 1
                    continue
                try:
                    located = self.catalogue.locate(path)
                except (SourceError, SourceRootError) as error:
                    self.lacking.append((path, error.message))
                    continue
                (self.in_order if located.is_sequential else self.single).append(located)
        self.single.sort(key=lambda located: (corpus_of(located.path), located.place))
        self.written = len(self.single) + len(self.in_order)
        self.num_bytes = self.download_bytes = sum(located.num_bytes for located in self.single)
        self.num_bytes += int(sum(_mean_bytes(located.path) for located in self.in_order))
        # of parquet, each row group once; of what is not known before it is gone through, whole archives
        groups = {(corpus_of(located.path), located.place): located.num_bytes for located in self.in_order}
        self.download_bytes += sum(groups.values())
        for prefix in {prefix for (prefix, _), size in groups.items() if not size}:
            paths = [located.path for located in self.in_order if corpus_of(located.path) == prefix]
            self.download_bytes += estimate_download(find_published(prefix), paths) or 0

    def opened(self) -> Any:
        """The folder, in which no other process fetches, if it has space."""
        try:
            (self.folder / _ASIDE_NAME).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made: {describe(error)}") from None
        free = shutil.disk_usage(self.folder).free
        if self.num_bytes + _SPARE_BYTES > free:
            raise OutputError(
                f"{self.folder} has {free / 1e9:,.1f} GB free, and about {self.num_bytes / 1e9:,.1f} GB are fetched. "
                "Choose fewer mixtures (hive-datasets needs --budget), or another disk."
            )
        return locked(self.folder / _ASIDE_NAME / ".lock", OutputError, f"fetching into {self.folder}")

    def write(self) -> None:
        """Fetch what is not there."""
        total, self.written, self.num_bytes = self.num_bytes, 0, 0
        for left in (self.folder / _ASIDE_NAME).glob("*.new"):
            left.unlink()
        checksums = self._find_checksums()
        with self.progress("fetching", "bytes", total) as advance:
            for done in map_in_threads(lambda located: self._fetch(located, checksums), self.single, self.num_workers):
                self._note(*done, advance)
            for found in read_in_order(self.in_order):
                located, error = found if isinstance(found, tuple) else (found, None)
                self._note(*((located, 0, error.message) if error else self._fetch(located, {})), advance)

    def finish(self) -> None:
        """Write the list of what is lacking."""
        write_csv(self.folder / LACKING_NAME, [("path", "reason"), *self.lacking])

    def _note(self, located: LocatedSource, size: int, reason: str, advance: Callable[[int], Any]) -> None:
        if reason:
            self.lacking.append((located.path, reason))
        else:
            self.written += 1
            self.num_bytes += size
        advance(size)

    def _fetch(self, located: LocatedSource, checksums: dict[str, str]) -> tuple[LocatedSource, int, str]:
        """One file; its size, or why it cannot be had."""
        try:
            data = located.read()
        except SourceError as error:
            return located, 0, error.message
        problem, expected = located.compare(data), checksums.get(located.location)
        if expected and hashlib.sha256(data).hexdigest() != expected:
            problem = f"its SHA-256 is not {expected}, which the Hub has"
        if problem:
            aside = self.folder / _ASIDE_NAME / f"{located.path.replace('/', '_')}.wrong"
            self._write(data, aside)
            return located, 0, f"{problem}; it is kept as {aside}, and not used"
        self._write(data, self._target(located))
        return located, len(data), ""

    def _write(self, data: bytes, target: Path) -> None:
        """A file under its name when it is whole."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder / _ASIDE_NAME, suffix=".new", delete=False) as aside:
                try:
                    aside.write(data)
                    aside.flush()
                    os.replace(aside.name, target)
                except BaseException:
                    os.unlink(aside.name)
                    raise
        except HiveError:
            raise
        except OSError as error:
            message = f"{target} cannot be written: {describe(error)}. What was fetched is kept"
            raise OutputError(f"{message}: see to it, and run it again to go on.") from None

    def _places(self, path: str) -> Iterator[Path]:
        yield self.folder / path
        for suffix in (".wav", ".flac"):
            yield (self.folder / path).with_suffix(suffix)

    def _target(self, located: LocatedSource) -> Path:
        """Where a file comes to lie: under the metadata's name, with a suffix that tells what it is."""
        target = self.folder / located.path
        name = located.content.name if located.content is not None else located.inside
        suffix = ".wav" if is_video(name) else os.path.splitext(name)[1]
        is_other = suffix and suffix.lower() != target.suffix.lower()
        return target.with_suffix(suffix) if is_other else target

    def _find_checksums(self) -> dict[str, str]:
        """The SHA-256 of single files of the Hub, by their locations."""
        by_repository: dict[tuple[str, str], dict[str, str]] = {}
        for located in self.single:
            found = re.match(r"hf://datasets/([^@]+)@([0-9a-f]{40})/(.+)", located.location)
            if found and not located.has_checksum:
                by_repository.setdefault((found[1], found[2]), {})[found[3]] = located.location
        checksums = {}
        api = HfApi()
        for (repository, commit), names in by_repository.items():
            for batch in _batches(list(names), _ASKED_AT_ONCE):

                def ask_hub(repository: str = repository, commit: str = commit, batch: list[str] = batch) -> list[Any]:
                    return api.get_paths_info(repository, batch, revision=commit, repo_type="dataset")

                for info in ask_for(api.endpoint, ask_hub):
                    lfs = getattr(info, "lfs", None)
                    if lfs is not None:
                        checksums[names[info.path]] = lfs.sha256
        return checksums


def _mean_bytes(path: str) -> float:
    published = find_published(corpus_of(path))
    return published.bytes_per_clip if published else 0.0


def _batches(names: list[str], size: int) -> Iterable[list[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
