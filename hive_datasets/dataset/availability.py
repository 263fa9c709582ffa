"""Which mixtures can be rendered on this machine, without reading any audio."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import MetadataUnavailableError, SourceError, SourceRootError, UnreadableSourceWarning
from ..prepared.store import PreparedSources, find_covered
from ..sources import Roots, find_roots
from ..sources.catalogue import Catalogue, LocatedSource
from ..sources.index import Index
from ..verification.checks import Facts
from ..verification.memory import Seen, recall
from ..verification.needs import collect_needs, corpus_of
from ..verification.verify import find_bad_uses, identify

#: Columns of the list of usable mixtures that ``hive-verify-sources --write-index`` writes.
_LIST_COLUMNS = ["split", "mix_id"]


class Availability(Protocol):
    """Tells which rows of a table of `RECIPE_SCHEMA` can be rendered."""

    def of(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Of each row, whether all its sources are there."""
        ...


def find_availability(
    available_only: Any,
    roots: Roots | None,
    prepared: PreparedSources | None = None,
    sampling_rate: int | None = None,
) -> Availability:
    """What `available_only=` of ``load_dataset("hive")`` asks for.

    Args:
        available_only: True for what the roots or prepared sources hold, or the path of a list of usable mixtures.
        roots: where the corpora are; None for those in force.
        prepared: prepared sources, if there are any.
        sampling_rate: rate in Hz that is rendered at; None for the recipes'.

    Raises:
        SourceRootError: no roots are configured.
        MetadataUnavailableError: there is no such list.
        TypeError: it is neither.
    """
    if available_only is True:
        if prepared is None:
            find_roots(roots)
        return RootsAvailability(roots, prepared, sampling_rate)
    if isinstance(available_only, (str, os.PathLike)):
        return ListedAvailability(Path(available_only))
    raise TypeError(f"available_only must be True, False or the path of a list, not {available_only!r}")


class RootsAvailability:
    """By prepared sources, the index of each root, and what `hive-verify-sources` has found out about its files.

    Args:
        roots: where the corpora are; None for those in force.
        prepared: prepared sources, if there are any; then there need not be any roots.
        sampling_rate: rate in Hz that is rendered at; None for the recipes'.
    """

    def __init__(
        self, roots: Roots | None, prepared: PreparedSources | None = None, sampling_rate: int | None = None
    ) -> None:
        self._roots, self._prepared, self._sampling_rate = roots, prepared, sampling_rate
        # made where it is used: in each worker process, and with indexes that are looked over anew for each load
        self._catalogue: Catalogue | None = None
        self._seen: dict[str, _SeenOfRoot] = {}
        self._warned: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return RootsAvailability, (self._roots, self._prepared, self._sampling_rate)

    def of(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """See `Availability`."""
        needs = collect_needs([table])
        there = np.zeros(len(needs.paths), dtype=bool)
        sources, seen = {}, {}
        for position, path in enumerate(needs.paths):
            source, found = self._look_up(path)
            there[position] = source is not None
            if source is not None and found is not None:
                sources[position], seen[position] = source, found
        # What speaks against a file counts only if it is still the same; asking that of all would take too long.
        bad = find_bad_uses(needs, seen)
        suspects = {position for position, found in seen.items() if found.facts.status != "ok"}
        for position in suspects | set(needs.files[bad].tolist()):
            if identify(sources[position]) != seen[position][1:3]:
                del seen[position]
                suspects.discard(position)
        there[list(suspects)] = False
        missing = ~there[needs.files] | find_bad_uses(needs, seen)
        if self._prepared is not None:
            missing &= ~find_covered(self._prepared, table, missing, self._sampling_rate)
        available = np.ones(len(table), dtype=bool)
        available[needs.row_of_use[missing]] = False
        return available

    def _look_up(self, path: str) -> tuple[LocatedSource | None, Seen | None]:
        """A file, if it is there, and what was seen of it, if anything was."""
        catalogue = self._open_catalogue()
        if catalogue is None:
            return None, None
        try:
            opened, rest = catalogue.open_root(path)
            source = catalogue.look_up(path, opened, rest)
        except SourceRootError as error:
            self._warn(catalogue, path, error)
            return None, None
        except SourceError:
            return None, None
        index = opened.index()
        known = self._seen.get(opened.storage.root)
        if known is None or known.index is not index:
            known = self._seen[opened.storage.root] = _SeenOfRoot(opened.storage.root, index)
        return source, known.find(source.inside)

    def _open_catalogue(self) -> Catalogue | None:
        """The roots; None if there are none, and all comes from prepared sources."""
        if self._catalogue is None:
            try:
                self._catalogue = Catalogue(find_roots(self._roots))
            except SourceRootError:
                if self._prepared is None:
                    raise
        return self._catalogue

    def _warn(self, catalogue: Catalogue, path: str, error: SourceRootError) -> None:
        """Say, once a corpus, that a root is configured but cannot be used; not to have a corpus is no fault."""
        corpus = corpus_of(path)
        try:
            catalogue.roots.match(path)
        except SourceRootError as mismatch:
            if not mismatch.several:
                return
        if corpus not in self._warned:
            self._warned.add(corpus)
            message = f"no mixture with sources of {corpus} is available: {error}"
            warnings.warn(message, UnreadableSourceWarning, stacklevel=2)


class _SeenOfRoot:
    """What was seen of the files of a root, in a few bytes each: there may be a million, and many workers."""

    def __init__(self, root: str, index: Index) -> None:
        self.index = index
        self._numbers = np.zeros((len(index), 4), dtype=np.int64)  # size, version, rate, frames
        self._others: dict[int, Seen] = {}
        for seen in recall(root):
            row = index.find(seen.path)
            if row < 0:
                continue
            if seen.facts.status != "ok" or seen.faults:
                self._others[row] = seen
            else:
                self._numbers[row] = seen.size, seen.version, seen.facts.sampling_rate, seen.facts.frames

    def find(self, path: str) -> Seen | None:
        row = self.index.find(path)
        if row in self._others or row < 0:
            return self._others.get(row)
        size, version, rate, frames = self._numbers[row].tolist()
        return Seen(path, size, version, Facts("ok", "", rate, 0, frames)) if rate else None


@dataclass
class ListedAvailability:
    """By a list of usable mixtures, as ``hive-verify-sources --write-index`` writes it.

    Args:
        file: the list.
    """

    file: Path

    def __post_init__(self) -> None:
        """Raise `MetadataUnavailableError` if there is no such list."""
        if not self.file.exists():
            raise MetadataUnavailableError(f"available_only: {self.file} does not exist")
        try:
            names = pq.read_schema(self.file).names
        except (OSError, pa.ArrowInvalid) as error:
            raise MetadataUnavailableError(f"available_only: {self.file} cannot be read: {error}") from None
        if not set(_LIST_COLUMNS) <= set(names):
            raise MetadataUnavailableError(
                f"available_only: {self.file} is no list of usable mixtures: it has the columns {', '.join(names)}. "
                "hive-verify-sources --write-index writes such a list."
            )
        self._keys: npt.NDArray[np.bytes_] | None = None

    def of(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """See `Availability`."""
        keys = self._load()
        wanted = _keys(table)
        positions = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        found: npt.NDArray[np.bool_] = keys[positions] == wanted if len(keys) else np.zeros(len(table), dtype=bool)
        return found

    def _load(self) -> npt.NDArray[np.bytes_]:
        """The keys in order: a few bytes each, where Python strings would take a hundred."""
        if self._keys is None:
            try:
                listed = pq.ParquetFile(self.file, page_checksum_verification=True)
                parts = [_keys(pa.table(batch)) for batch in listed.iter_batches(1 << 16, columns=_LIST_COLUMNS)]
            except (OSError, pa.ArrowException) as error:
                message = f"available_only: {self.file} is damaged: {error}. Write it again: hive-verify-sources"
                raise MetadataUnavailableError(f"{message} --write-index.") from None
            self._keys = np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype="S1")
        return self._keys


def _keys(table: pa.Table) -> npt.NDArray[np.bytes_]:
    pairs = zip(table.column("split").to_pylist(), table.column("mix_id").to_pylist(), strict=True)
    return np.array([f"{split}/{mix_id}".encode() for split, mix_id in pairs], dtype="S")
