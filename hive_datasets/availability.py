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

from .errors import MetadataUnavailableError, SourceError, SourceRootError, UnreadableSourceWarning
from .sources import Roots, find_roots
from .sources.catalogue import Catalogue, OpenRoot
from .verification.checks import Facts, is_too_short
from .verification.memory import recall_faults
from .verification.needs import collect_needs, corpus_of

#: Columns of the list of usable mixtures that ``hive-verify-sources --write-index`` writes.
_LIST_COLUMNS = ["split", "mix_id"]


class Availability(Protocol):
    """Tells which rows of a table of `RECIPE_SCHEMA` can be rendered."""

    def of(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Of each row, whether all its sources are there."""
        ...


def find_availability(available_only: Any, roots: Roots | None) -> Availability:
    """What `available_only=` of ``load_dataset("hive")`` asks for.

    Args:
        available_only: True for what the roots hold, or the path of a list of usable mixtures.
        roots: where the corpora are; None for those in force.

    Raises:
        SourceRootError: no roots are configured.
        MetadataUnavailableError: there is no such list.
        TypeError: it is neither.
    """
    if available_only is True:
        find_roots(roots)
        return RootsAvailability(roots)
    if isinstance(available_only, (str, os.PathLike)):
        return ListedAvailability(Path(available_only))
    raise TypeError(f"available_only must be True, False or the path of a list, not {available_only!r}")


class RootsAvailability:
    """By the index of each root, and by what `hive-verify-sources` has found out about its files.

    Args:
        roots: where the corpora are; None for those in force.
    """

    def __init__(self, roots: Roots | None) -> None:
        self._roots = roots
        # made where it is used: in each worker process, and with indexes that are looked over anew for each load
        self._catalogue: Catalogue | None = None
        self._faults: dict[str, dict[str, tuple[int, int, Facts]]] = {}
        self._warned: set[str] = set()

    def __reduce__(self) -> tuple[type[RootsAvailability], tuple[Roots | None]]:
        return RootsAvailability, (self._roots,)

    def of(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """See `Availability`."""
        if self._catalogue is None:
            self._catalogue = Catalogue(find_roots(self._roots))
        needs = collect_needs([table])
        there = np.zeros(len(needs.paths), dtype=bool)
        rates, frames = np.zeros((2, len(needs.paths)), dtype=np.int64)
        for position, path in enumerate(needs.paths):
            fault = self._look_up(self._catalogue, path)
            there[position] = fault.status == "ok"
            rates[position], frames[position] = fault.sampling_rate, fault.frames
        files, spans = needs.files, needs.spans
        missing = ~there[files] | is_too_short(spans[:, 0], spans[:, 1], rates[files], frames[files])
        available = np.ones(len(table), dtype=bool)
        available[needs.row_of_use[missing]] = False
        return available

    def _look_up(self, catalogue: Catalogue, path: str) -> Facts:
        """What is wrong with a file; its length only if it is known to be too short for something."""
        try:
            opened, rest = catalogue.open_root(path)
            source = catalogue.look_up(path, opened, rest)
        except SourceRootError as error:
            self._warn(catalogue, path, error)
            return Facts("missing")
        except SourceError:
            return Facts("missing")
        fault = self._known_faults(opened).get(source.inside)
        if fault is None:
            return Facts("ok")
        try:  # a file that has changed since may be whole by now
            return fault[2] if source.identity() == fault[:2] else Facts("ok")
        except OSError:
            return Facts("missing")

    def _known_faults(self, opened: OpenRoot) -> dict[str, tuple[int, int, Facts]]:
        root = opened.storage.root
        if root not in self._faults:
            self._faults[root] = recall_faults(root)
        return self._faults[root]

    def _warn(self, catalogue: Catalogue, path: str, error: SourceRootError) -> None:
        """Say, once a corpus, that a root is configured but cannot be used; not to have a corpus is no fault."""
        corpus = corpus_of(path)
        try:
            catalogue.roots.match(path)
        except SourceRootError:
            return
        if corpus not in self._warned:
            self._warned.add(corpus)
            message = f"no mixture with sources of {corpus} is available: {error}"
            warnings.warn(message, UnreadableSourceWarning, stacklevel=2)


@dataclass
class ListedAvailability:
    """By a list of usable mixtures, as ``hive-verify-sources --write-index`` writes it.

    Args:
        file: the list.
    """

    file: Path

    def __post_init__(self) -> None:
        """Raise `MetadataUnavailableError` if there is no such list."""
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
            parts = [
                _keys(pa.table(batch))
                for batch in pq.ParquetFile(self.file).iter_batches(1 << 16, columns=_LIST_COLUMNS)
            ]
            self._keys = np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype="S1")
        return self._keys


def _keys(table: pa.Table) -> npt.NDArray[np.bytes_]:
    pairs = zip(table.column("split").to_pylist(), table.column("mix_id").to_pylist(), strict=True)
    return np.array([f"{split}/{mix_id}".encode() for split, mix_id in pairs], dtype="S")
