"""Verifying the user's copies of the corpora against metadata."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import AmbiguousSourceError, MetadataUnavailableError, SourceError, SourceRootError
from ..recipe.reading import read_tables
from ..sources import Roots, find_corpus, find_roots, parse_roots
from ..sources.catalogue import Catalogue, LocatedSource, OpenRoot, describe_rules
from .advice import advise
from .checks import LEVELS, Facts, check_frames, check_header, is_too_short
from .memory import Memory
from .needs import Needs, collect_needs, corpus_of
from .result import USABLE, Verification

#: Results that are kept at once; what is lost if the process is killed.
_KEPT_RESULTS = 1024
#: A thread hands its results over when it has so many, or so long after the last time.
_HANDOVER_RESULTS = 256
_HANDOVER_SECONDS = 0.5

T = TypeVar("T")


class Progress(Protocol):
    """Told how far a long step is."""

    def __call__(
        self, step: str, unit: str, total: int | None
    ) -> contextlib.AbstractContextManager[Callable[[int], Any]]:
        """A step of `total` units begins; the context is called with the number of units done since the last call."""
        ...


@contextlib.contextmanager
def no_progress(step: str, unit: str, total: int | None) -> Iterator[Callable[[int], Any]]:
    """Progress that nobody looks at."""
    yield lambda done: None


@dataclass(slots=True)
class _Located:
    """A needed file that was found."""

    position: int
    source: LocatedSource
    opened: OpenRoot


def verify_sources(
    metadata: str | os.PathLike[str] | None = None,
    dataset_paths: Any = None,
    *,
    check: str = "exists",
    splits: Collection[str] | None = None,
    corpora: Collection[str] | None = None,
    jobs: int | None = None,
    rescan: bool = False,
    progress: Progress = no_progress,
) -> Verification:
    """Check every distinct file that metadata names, once.

    What was seen of a file's header or frames is remembered, and taken for granted as long as its size and time of
    modification stay.

    Args:
        metadata: a file or folder of metadata, or its URL; None for what ``load_dataset("hive")`` reads.
        dataset_paths: where the corpora are, as `load_dataset` takes it.
        check: "exists"; "header", which also compares rate and length with what the mixtures need; or
            "decode", which also decodes every needed frame.
        splits: only mixtures of these.
        corpora: only sources of these.
        jobs: files checked at once; None for as many as there are cores.
        rescan: list every root anew.
        progress: told how far it is.

    Raises:
        ValueError: there is no such check.
        MetadataUnavailableError, RecipeError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: no roots are configured. (A root that cannot be opened is a finding.)

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> result = hive_datasets.verify_sources(demo / "metadata", demo / "sources", check="header")
        >>> result.is_clean, int(result.usable.sum()), len(result.needs.paths)
        (True, 40, 24)
    """
    if check not in LEVELS:
        raise ValueError(f"check must be one of {', '.join(LEVELS)}, not {check!r}")
    given: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
    catalogue = Catalogue(find_roots(given))
    with progress("reading metadata", "mixtures", None) as advance:
        tables = _counted(_read_metadata(metadata, splits), advance)
        needs = collect_needs(tables, splits, corpora, keep_spans=check != "exists")
    if not needs.paths:
        chosen = " or ".join(
            [*(f"of split {name}" for name in splits or ()), *(f"with {name}" for name in corpora or ())]
        )
        raise MetadataUnavailableError(f"{metadata or 'the metadata of Hive'}: there is no mixture {chosen}".rstrip())
    run = _Run(needs, catalogue, check)
    run.locate(rescan, progress)
    if check != "exists":
        run.check_files(jobs or os.cpu_count() or 1, progress)
    return run.finish()


@dataclass
class _Run:
    needs: Needs
    catalogue: Catalogue
    level: str
    statuses: list[str] = field(default_factory=list)
    details: dict[int, tuple[str, str]] = field(default_factory=dict)
    #: The files that are there; of those only looked up, the ones with other names.
    found: list[_Located] = field(default_factory=list)
    facts: dict[int, Facts] = field(default_factory=dict)
    #: Corpora whose root cannot be opened, and why.
    broken: dict[str, str] = field(default_factory=dict)

    def locate(self, rescan: bool, progress: Progress) -> None:
        """Find every file."""
        self._open_roots(rescan, progress)
        with progress("locating files", "files", len(self.needs.paths)) as advance:
            for position, path in enumerate(_counted(self.needs.paths, advance, 10_000)):
                self.statuses.append(self._locate(position, path))

    def _open_roots(self, rescan: bool, progress: Progress) -> None:
        """Index every root, so that the time it takes is seen."""
        for corpus, path in {corpus_of(path): path for path in self.needs.paths}.items():
            try:
                opened, _ = self.catalogue.open_root(path)
                with progress(f"listing {opened.storage.root}", "files", None) as advance:
                    tell = _increments(advance)
                    tell(len(opened.index(tell, rescan)))
            except SourceRootError as error:
                self.broken[corpus] = error.message

    def _locate(self, position: int, path: str) -> str:
        corpus = corpus_of(path)
        if corpus in self.broken:
            return self._note(position, "missing", "", self.broken[corpus])
        opened, rest = self.catalogue.open_root(path)
        try:
            source = self.catalogue.look_up(path, opened, rest)
        except SourceError as error:
            status = "ambiguous" if isinstance(error, AmbiguousSourceError) else "missing"
            return self._note(position, status, opened.storage.locate(rest), error.message)
        if self.level != "exists" or source.rules:  # else a million files would be kept for nothing
            self.found.append(_Located(position, source, opened))
        if not source.rules:
            return "found"
        also = f"; also there: {', '.join(source.others)}" if source.others else ""
        return self._note(position, "variant", source.location, describe_rules(source.rules) + also)

    def _note(self, position: int, status: str, location: str, detail: str) -> str:
        self.details[position] = (location, detail)
        return status

    def check_files(self, jobs: int, progress: Progress) -> None:
        """Look into every file that was found, unless that is remembered."""
        with contextlib.ExitStack() as stack:
            memories = {}
            for opened in {id(located.opened): located.opened for located in self.found}.values():
                memories[id(opened)] = stack.enter_context(contextlib.closing(Memory(opened.storage.root)))
            pending = self._recall(memories)
            with progress(f"checking files ({self.level})", "files", len(self.found)) as advance:
                advance(len(self.found) - len(pending))
                kept: dict[int, list[tuple[str, int, int, int, Facts]]] = {}

                def keep(least: int) -> None:
                    for key, results in kept.items():
                        if len(results) >= least:
                            memories[key].keep(self.level, results)
                            results.clear()

                def note(checked: tuple[_Located, tuple[int, int, int], Facts]) -> None:
                    located, identity, facts = checked
                    self.facts[located.position] = facts
                    kept.setdefault(id(located.opened), []).append((located.source.inside, *identity, facts))
                    advance(1)
                    keep(_KEPT_RESULTS)

                try:
                    _in_threads(self._check, pending, jobs, note)
                finally:  # whatever interrupts, what was checked stays checked
                    keep(1)
            self._judge()
            for key, memory in memories.items():
                memory.mark_short(
                    located.source.inside
                    for located in self.found
                    if id(located.opened) == key and self.statuses[located.position] == "too_short"
                )

    def _recall(self, memories: dict[int, Memory]) -> list[tuple[_Located, int, npt.NDArray[np.float64] | None]]:
        """The files that must be looked into: (file, key of its crops, crops); the others' facts are recalled."""
        known = {key: memory.load(self.level) for key, memory in memories.items()}
        crops = list(self.needs.crops()) if self.level == "decode" else None
        pending = []
        for located in self.found:
            wanted = None if crops is None else crops[located.position]
            key = 0 if wanted is None else zlib.crc32(wanted.tobytes())
            remembered = known[id(located.opened)].get(located.source.inside)
            if remembered is not None and (wanted is None or remembered[2] == key):
                size, version, _, facts = remembered
                with contextlib.suppress(OSError):
                    if located.source.identity() == (size, version):
                        self.facts[located.position] = facts
                        continue
            pending.append((located, key, wanted))
        return pending

    def _check(
        self, item: tuple[_Located, int, npt.NDArray[np.float64] | None]
    ) -> tuple[_Located, tuple[int, int, int], Facts]:
        located, key, crops = item
        try:
            size, version = located.source.identity()
        except OSError:
            size = version = -1
        facts = check_header(located.source) if crops is None else check_frames(located.source, crops)
        return located, (size, version, key), facts

    def _judge(self) -> None:
        """Turn facts into statuses."""
        for located in self.found:
            facts = self.facts[located.position]
            corpus = find_corpus(corpus_of(located.source.path))
            native = corpus.sampling_rate if corpus else None
            position, location = located.position, located.source.location
            if facts.status != "ok":
                self.statuses[position] = self._note(position, facts.status, location, facts.detail)
            elif native is not None and facts.sampling_rate != native:
                detail = f"{facts.sampling_rate} Hz, where the corpus has {native} Hz"
                self.statuses[position] = self._note(position, "other_rate", location, detail)
        short = self._short_uses()
        ends = np.zeros(len(self.needs.paths))
        np.maximum.at(ends, self.needs.files[short], self.needs.spans[short, 1])
        sources = {located.position: located.source for located in self.found}
        for position in np.flatnonzero(ends).tolist():
            facts = self.facts[position]
            stop = int(ends[position] * facts.sampling_rate)
            detail = f"it has {facts.frames} frames, and a chunk ends at frame {stop}"
            self.statuses[position] = self._note(position, "too_short", sources[position].location, detail)

    def _short_uses(self) -> npt.NDArray[np.bool_]:
        """Of each use, whether its chunk is outside its file."""
        if self.level == "exists" or not len(self.needs.files):
            return np.zeros(len(self.needs.files), dtype=bool)
        rates, frames = np.zeros((2, len(self.needs.paths)), dtype=np.int64)
        for position, facts in self.facts.items():
            if facts.status == "ok":
                rates[position], frames[position] = facts.sampling_rate, facts.frames
        spans, files = self.needs.spans, self.needs.files
        return is_too_short(spans[:, 0], spans[:, 1], rates[files], frames[files])

    def finish(self) -> Verification:
        """Count what can be used."""
        needs = self.needs
        good = np.array([status in USABLE or status == "too_short" for status in self.statuses], dtype=bool)
        use_is_usable = good[needs.files] & ~self._short_uses()
        rows = needs.row_of_use
        usable = np.ones(len(needs.row_sources), dtype=bool)
        usable[rows[~use_is_usable]] = False
        result = Verification(
            level=self.level,
            needs=needs,
            statuses=self.statuses,
            details=self.details,
            usable=usable,
            use_is_usable=use_is_usable,
            affected=_count_affected(needs, self.statuses, use_is_usable),
        )
        sources = {located.position: located.source for located in self.found}
        result.next_steps = advise(result, self.catalogue, self.broken, sources)
        return result


def _count_affected(needs: Needs, statuses: list[str], use_is_usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Of each path, the mixtures that its finding affects: of a file too short, those that need what is not there."""
    concerned = np.array([status != "found" for status in statuses], dtype=bool)
    is_short = np.array([status == "too_short" for status in statuses], dtype=bool)
    if not len(needs.files):
        return np.zeros(len(statuses), dtype=np.int64)
    uses = concerned[needs.files] & ~(is_short[needs.files] & use_is_usable)
    pairs = np.unique(np.stack([needs.files[uses], needs.row_of_use[uses]]), axis=1)
    return np.bincount(pairs[0], minlength=len(statuses))


def _read_metadata(metadata: str | os.PathLike[str] | None, splits: Collection[str] | None) -> Iterator[pa.Table]:
    import datasets

    from ..metadata_files import find_metadata_files

    data_dir = None if metadata is None else os.fspath(metadata)
    files = find_metadata_files(data_dir, None, None, datasets.DownloadConfig())
    for split, names in files.items():
        # on the Hub, a split's files hold that split alone
        if metadata is None and splits is not None and str(split) not in splits:
            continue
        for name in names:
            yield from read_tables(str(name))


def _counted(items: Iterable[T], advance: Callable[[int], Any], every: int = 1) -> Iterator[T]:
    """The same items; `advance` is told of them (of a table, of its rows)."""
    seen = 0
    for item in items:
        yield item
        seen += len(item) if isinstance(item, pa.Table) else 1
        if seen >= every:
            advance(seen)
            seen = 0
    advance(seen)


def _increments(advance: Callable[[int], Any]) -> Callable[[int], None]:
    """For a step that tells how many there are so far."""
    seen = 0

    def tell(total: int) -> None:
        nonlocal seen
        advance(total - seen)
        seen = total

    return tell


def _in_threads(function: Callable[[Any], T], items: Iterable[Any], jobs: int, handle: Callable[[T], Any]) -> None:
    """Call `function` with every item in `jobs` threads, and `handle` with every result in this one.

    Results are handed over some at a time: waking this thread for each would cost more than a header. Whatever ends
    this early, Ctrl-C too, the items begun are finished and their results handled.
    """
    shared = iter(items)
    results: queue.SimpleQueue[list[T] | None] = queue.SimpleQueue()
    stopped = threading.Event()
    working = jobs

    def work() -> None:
        done: list[T] = []
        due = time.monotonic() + _HANDOVER_SECONDS
        try:
            for item in shared:
                done.append(function(item))
                if len(done) >= _HANDOVER_RESULTS or time.monotonic() > due:
                    results.put(done)
                    done, due = [], time.monotonic() + _HANDOVER_SECONDS
                if stopped.is_set():
                    return
        finally:
            results.put(done)
            results.put(None)

    def handle_all() -> None:
        nonlocal working
        while working:
            done = results.get()
            if done is None:
                working -= 1
            else:
                for result in done:
                    handle(result)

    with ThreadPoolExecutor(jobs) as executor:
        workers = [executor.submit(work) for _ in range(jobs)]
        try:
            handle_all()
        except BaseException:
            stopped.set()
            handle_all()
            raise
    for worker in workers:
        worker.result()
