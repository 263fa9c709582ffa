"""Verifying the user's copies of the corpora against metadata."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import (
    AmbiguousSourceError,
    MetadataUnavailableError,
    SourceError,
    SourceRootError,
    SourceUnreachableError,
)
from ..mixing.planning import END_TOLERANCE
from ..recipe.metadata_files import read_metadata
from ..sources import Roots, find_corpus, find_roots, parse_roots
from ..sources.catalogue import Catalogue, LocatedSource, OpenRoot, describe_rules
from ..sources.corpora import find_nearest_name
from ..utils.progress import Progress, count_items, no_progress
from ..utils.threads import call_in_threads
from .advice import advise
from .checks import LEVELS, check_frames, check_header, is_too_short
from .memory import Memory, Seen
from .needs import Needs, collect_needs, corpus_of
from .result import PARTLY_BAD, USABLE, Verification

#: The rate in Hz of Hive's mixtures.
HIVE_RATE = 44100
#: Rules by which copies are found that tools have made, from the source and with cuts and codecs of their own.
_MADE_RULES = frozenset({"id_prefix", "times", "extension", "video", "youtube_prefix"})
_CUT_RULES = frozenset({"id_prefix", "times", "video"})
#: Between the ends of chunks, but for the last of a file; and what is no such end for rounding.
_CHUNK_STEP_SECONDS, _LEAST_SECONDS = 5.0, 1e-3
#: Results that are kept at once; what is lost if the process is killed.
_KEPT_RESULTS = 1024


@runtime_checkable
class Mixtures(Protocol):
    """What knows which mixtures are meant, as `Subset` does."""

    def tables(self) -> Iterator[pa.Table]:
        """The mixtures, as tables of `RECIPE_SCHEMA`."""
        ...


@dataclass(slots=True)
class _Located:
    """A needed file that was found."""

    position: int
    source: LocatedSource
    opened: OpenRoot


def verify_sources(
    metadata: str | os.PathLike[str] | Mixtures | None = None,
    dataset_paths: Any = None,
    *,
    check: str = "exists",
    splits: Collection[str] | None = None,
    corpora: Collection[str] | None = None,
    num_workers: int | None = None,
    rescan: bool = False,
    progress: Progress = no_progress,
) -> Verification:
    """Check every distinct file that metadata names, once.

    What was seen of a file's header or frames is remembered, and taken for granted as long as its size and time of
    modification stay.

    Args:
        metadata: a file or folder of metadata, or its URL; None for what ``load_dataset("hive")`` reads; or a `Subset`.
        dataset_paths: where the corpora are, as `load_dataset` takes it.
        check: "exists"; "header", which also compares rate and length with what the mixtures need; or
            "decode", which also decodes every needed frame.
        splits: only mixtures of these.
        corpora: only sources of these; nothing is then said about the other sources of their mixtures.
        num_workers: files checked at once; None for as many as there are cores.
        rescan: list every root anew, and remember nothing of its files.
        progress: told how far it is.

    Raises:
        ValueError: there is no such check, or `num_workers` is less than 1.
        MetadataUnavailableError, RecipeError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: no roots are configured. (A root that cannot be opened is a finding, and so is a server that
            cannot be reached.)

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> result = hive_datasets.verify_sources(demo / "metadata", demo / "sources", check="header")
        >>> result.is_clean, int(result.usable.sum()), len(result.needs.paths)
        (True, 40, 24)
    """
    if check not in LEVELS:
        raise ValueError(f"check must be one of {', '.join(LEVELS)}, not {check!r}")
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, not {num_workers}")
    given: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
    catalogue = Catalogue(find_roots(given))
    with progress("reading metadata", "mixtures", None) as advance:
        given_tables = metadata.tables() if isinstance(metadata, Mixtures) else read_metadata(metadata, splits)
        tables = count_items(given_tables, advance)
        needs = collect_needs(tables, splits, corpora, keep_spans=check != "exists")
    if not needs.paths:
        nearest = [name for name in map(find_nearest_name, corpora or ()) if name]
        chosen = [f"of split {name}" for name in splits or ()] + [f"with sources of {name}" for name in corpora or ()]
        where = "the metadata" if isinstance(metadata, Mixtures) else metadata or "the metadata of Hive"
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise MetadataUnavailableError(f"{where}: there is no mixture {' or '.join(chosen)}{hint}".rstrip())
    run = _Run(needs, catalogue, check, tuple(corpora or ()))
    run.locate(rescan, progress)
    if check != "exists":
        run.check_files(num_workers or os.cpu_count() or 1, rescan, progress)
    return run.finish()


@dataclass
class _Run:
    needs: Needs
    catalogue: Catalogue
    level: str
    only: tuple[str, ...]
    statuses: list[str] = field(default_factory=list)
    details: dict[int, tuple[str, str]] = field(default_factory=dict)
    #: The files that are there; of those only looked up, the ones with other names.
    found: list[_Located] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    bad_uses: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    #: Corpora whose root cannot be opened, and why; and those whose server cannot be reached.
    broken: dict[str, str] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)

    def locate(self, rescan: bool, progress: Progress) -> None:
        """Find every file."""
        self._open_roots(rescan, progress)
        with progress("locating files", "files", len(self.needs.paths)) as advance:
            for position, path in enumerate(count_items(self.needs.paths, advance, 10_000)):
                self.statuses.append(self._locate(position, path))

    def _open_roots(self, rescan: bool, progress: Progress) -> None:
        """Index every root, so that the time it takes is seen."""
        for corpus in dict.fromkeys(map(corpus_of, self.needs.paths)):
            path = f"{corpus}/any"
            try:
                self.catalogue.roots.match(path)
            except SourceRootError as error:
                self.broken[corpus] = error.message if error.several else "no root is configured for it"
                continue
            try:
                opened, _ = self.catalogue.open_root(path)
                with progress(f"listing {opened.storage.root}", "files", None) as advance:
                    tell = _increments(advance)
                    tell(len(opened.index(tell, rescan)))
            except SourceRootError as error:
                self.broken[corpus] = error.message
            except SourceUnreachableError as error:
                self.broken[corpus] = error.message
                self.unreachable.add(corpus)

    def _locate(self, position: int, path: str) -> str:
        corpus = corpus_of(path)
        if corpus in self.broken:
            status = "unreachable" if corpus in self.unreachable else "missing"
            return self._note(position, status, "", self.broken[corpus])
        location = ""
        try:
            opened, rest = self.catalogue.open_root(path)
            location = opened.storage.locate(rest)
            source = self.catalogue.look_up(path, opened, rest)
        except SourceUnreachableError as error:
            return self._note(position, "unreachable", location, error.message)
        except (SourceError, SourceRootError) as error:
            status = "ambiguous" if isinstance(error, AmbiguousSourceError) else "missing"
            return self._note(position, status, location, error.message)
        if self.level != "exists" or source.rules:  # else a million files would be kept for nothing
            self.found.append(_Located(position, source, opened))
        if not source.rules:
            return "found"
        also = f"; also there: {', '.join(source.others)}" if source.others else ""
        return self._note(position, "variant", source.location, describe_rules(source.rules) + also)

    def _note(self, position: int, status: str, location: str, detail: str) -> str:
        self.details[position] = (location, detail)
        return status

    def check_files(self, num_workers: int, rescan: bool, progress: Progress) -> None:
        """Look into every file that was found, unless what was seen of it is remembered."""
        with contextlib.ExitStack() as stack:
            memories = {}
            for opened in {id(located.opened): located.opened for located in self.found}.values():
                memories[id(opened)] = stack.enter_context(contextlib.closing(Memory(opened.storage.root)))
            with progress(f"checking files ({self.level})", "files", len(self.found)) as advance:
                pending = self._recall({} if rescan else memories)
                advance(len(self.found) - len(pending))
                kept: dict[int, list[Seen]] = {}

                def keep(least: int) -> None:
                    for key, seen in kept.items():
                        if len(seen) >= least:
                            memories[key].keep(seen)
                            seen.clear()

                def note(checked: tuple[_Located, Seen, bool]) -> None:
                    located, seen, is_lasting = checked
                    self.seen[located.position] = seen
                    if is_lasting:
                        kept.setdefault(id(located.opened), []).append(seen)
                    advance(1)
                    keep(_KEPT_RESULTS)

                try:
                    call_in_threads(self._check, pending, num_workers, note)
                finally:  # whatever interrupts, what was checked stays checked
                    keep(1)
        self._judge()

    def _recall(self, memories: dict[int, Memory]) -> list[tuple[_Located, int | None, npt.NDArray[np.float64] | None]]:
        """The files that must be looked into: (file, key of its crops, crops); the others are recalled."""
        known = {key: {seen.path: seen for seen in memory} for key, memory in memories.items()}
        crops = list(self.needs.crops()) if self.level == "decode" else None
        pending = []
        for located in self.found:
            wanted = None if crops is None else crops[located.position]
            key = None if wanted is None else zlib.crc32(wanted.tobytes())
            seen = known.get(id(located.opened), {}).get(located.source.inside)
            if seen is not None and key is None:
                seen = seen._replace(crops=None, faults=())  # a header tells nothing of them
            if seen is not None and seen.crops == key and identify(located.source) == (seen.size, seen.version):
                self.seen[located.position] = seen
            else:
                pending.append((located, key, wanted))
        return sorted(pending, key=lambda item: (id(item[0].opened), item[0].source.place))

    def _check(self, item: tuple[_Located, int | None, npt.NDArray[np.float64] | None]) -> tuple[_Located, Seen, bool]:
        located, key, crops = item
        identity = identify(located.source)
        facts, faults = (check_header(located.source), []) if crops is None else check_frames(located.source, crops)
        size, version = identity or (0, 0)
        seen = Seen(located.source.inside, size, version, facts, key, tuple(faults))
        return located, seen, facts.is_lasting and identity is not None

    def _judge(self) -> None:
        """Turn what was seen into statuses."""
        for located in self.found:
            facts = self.seen[located.position].facts
            position, location = located.position, located.source.location
            if facts.status != "ok":
                self.statuses[position] = self._note(position, facts.status, location, facts.detail)
            elif detail := explain_rate(located.source, facts.sampling_rate):
                self.statuses[position] = self._note(position, "other_rate", location, detail)
        self.bad_uses = find_bad_uses(self.needs, self.seen)
        ends, crops = self.needs.spans[:, 1], self.needs.crop_of_use
        sources = {located.position: located.source for located in self.found}
        for position, uses in self.needs.uses_of(np.unique(self.needs.files[self.bad_uses]).tolist()):
            facts = self.seen[position].facts
            if facts.status != "ok":
                continue
            bad = uses[self.bad_uses[uses]]
            faults = {fault[:2]: fault[2:] for fault in self.seen[position].faults}
            found = [faults[crop] for crop in map(tuple, crops[bad].tolist()) if crop in faults]
            status, detail = found[0] if found else ("too_short", "")
            if not found:
                end = int(ends[bad].max() * facts.sampling_rate)
                detail = f"it has {facts.frames} frames, and a chunk ends at frame {end}"
            self.statuses[position] = self._note(position, status, sources[position].location, detail)
        self._judge_lengths()

    def _judge_lengths(self) -> None:
        """Of copies that were cut otherwise, or are video, tell those that are longer than the authors' files."""
        others = [located for located in self.found if not _CUT_RULES.isdisjoint(located.source.rules)]
        files = {located.position: located for located in others}
        for position, uses in self.needs.uses_of(files):
            facts, end = self.seen[position].facts, float(self.needs.spans[uses, 1].max())
            # chunks end at multiples of 5 s, but for the last of a file, which ends where that does
            is_end = end % _CHUNK_STEP_SECONDS >= _LEAST_SECONDS
            surplus = facts.frames - int(end * facts.sampling_rate)
            if facts.status == "ok" and self.statuses[position] in USABLE and is_end and surplus > END_TOLERANCE:
                detail = f"it has {facts.frames} frames, {surplus} more than the authors' file: another cut or codec"
                self.statuses[position] = self._note(position, "other_length", files[position].source.location, detail)

    def finish(self) -> Verification:
        """Count what can be used."""
        needs = self.needs
        # a file of which only some crops are bad serves the others
        is_partly_bad = np.array([status in PARTLY_BAD for status in self.statuses], dtype=bool)
        good = np.array([status in USABLE for status in self.statuses], dtype=bool) | is_partly_bad
        bad_uses = self.bad_uses if len(self.bad_uses) else np.zeros(len(needs.files), dtype=bool)
        use_is_usable = good[needs.files] & ~bad_uses
        usable = np.ones(len(needs.row_sources), dtype=bool)
        usable[needs.row_of_use[~use_is_usable]] = False
        concerned = np.array([status != "found" for status in self.statuses], dtype=bool)
        affected_uses = concerned[needs.files] & ~(is_partly_bad[needs.files] & use_is_usable)
        pairs = np.unique(np.stack([needs.files[affected_uses], needs.row_of_use[affected_uses]]), axis=1)
        result = Verification(
            level=self.level,
            needs=needs,
            statuses=self.statuses,
            details=self.details,
            usable=usable,
            use_is_usable=use_is_usable,
            affected=np.bincount(pairs[0], minlength=len(self.statuses)),
            only=self.only,
        )
        sources = {located.position: located.source for located in self.found}
        result.next_steps = advise(result, self.catalogue, self.broken, self.unreachable, sources)
        return result


def explain_rate(source: LocatedSource, sampling_rate: int) -> str:
    """What a file's rate in Hz means for the mixtures, in words; nothing if it is its corpus' own.

    Where a corpus has files of several rates, only those of copies that a tool has made are judged.
    """
    corpus = find_corpus(corpus_of(source.path))
    native = corpus.sampling_rate if corpus else None
    if sampling_rate == native or (native is None and _MADE_RULES.isdisjoint(source.rules)):
        return ""
    theirs = min(native or HIVE_RATE, HIVE_RATE) // 2
    ours = sampling_rate // 2
    if native is None and ours >= theirs:
        return ""
    where = f", where the corpus has {native} Hz" if native else ""
    means = f"nothing above {ours:,} Hz, and the authors' up to {theirs:,}" if ours < theirs else "resampled once more"
    return f"{sampling_rate} Hz{where}: {means}"


def identify(source: LocatedSource) -> tuple[int, int] | None:
    """Size and version of a file; None where they cannot be had, so that nothing of it is remembered."""
    try:
        return source.identity()
    except OSError:
        return None


def find_bad_uses(needs: Needs, seen: dict[int, Seen]) -> npt.NDArray[np.bool_]:
    """Of each use, whether its chunk is outside its file, or its crop is known to be faulty.

    Args:
        needs: with spans.
        seen: what was seen of files, by their positions in the list of paths.
    """
    rates, frames = np.zeros((2, len(needs.paths)), dtype=np.int64)
    faulty = {}
    for position, (_, _, _, facts, _, faults) in seen.items():
        if facts.status == "ok":
            rates[position], frames[position] = facts.sampling_rate, facts.frames
        if faults:
            faulty[position] = {fault[:2] for fault in faults}
    spans, files = needs.spans, needs.files
    bad = is_too_short(spans[:, 0], spans[:, 1], rates[files], frames[files])
    crops = needs.crop_of_use if faulty else spans
    for position, uses in needs.uses_of(faulty):
        bad[uses] |= [tuple(crop) in faulty[position] for crop in crops[uses].tolist()]
    return bad


def _increments(advance: Callable[[int], Any]) -> Callable[[int], None]:
    """For a step that tells how many there are so far."""
    seen = 0

    def tell(total: int) -> None:
        nonlocal seen
        advance(total - seen)
        seen = total

    return tell
