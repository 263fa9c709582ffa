"""What mixtures need, in numbers: their clips, each once, and which mixture uses which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..recipe.tables import prefixes_of

#: Odd numbers with bits in no order, by which the two ends of a chunk become 32 bits.
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
#: Rows that are counted at once.
_PART_ROWS = 100_000
_USED_FIELDS = ("path", "label", "chunk_start_second", "chunk_end_second")
#: What grows while mixtures are counted.
_TYPES = {
    "files": np.int32,
    "seconds": np.float64,
    "clips": np.int32,
    "label_ids": np.int32,
    "row_sources": np.uint8,
    "row_splits": np.int8,
}


@dataclass(frozen=True)
class Demand:
    """Mixtures as numbers: rows are mixtures, uses are their sources one after the other, a clip is a chunk of a file.

    Attributes:
        paths: the distinct metadata paths; a file is known by its position in this list.
        prefixes: the distinct first components of paths, which name corpora, likewise.
        labels, splits: the distinct labels and splits, likewise.
        files, seconds: of each clip, its file and how long it is.
        corpora: of each file, its prefix.
        clips, label_ids: of each use.
        row_sources, row_splits: of each row: how many uses it has, and its split.
        mix_ids: of each row, strings.
    """

    paths: pa.StringArray
    prefixes: list[str]
    labels: list[str]
    splits: list[str]
    files: npt.NDArray[np.int32]
    seconds: npt.NDArray[np.float64]
    corpora: npt.NDArray[np.int16]
    clips: npt.NDArray[np.int32]
    label_ids: npt.NDArray[np.int32]
    row_sources: npt.NDArray[np.uint8]
    row_splits: npt.NDArray[np.int8]
    mix_ids: pa.ChunkedArray

    @property
    def row_of_use(self) -> npt.NDArray[np.int32]:
        """The row of each use."""
        return np.repeat(np.arange(len(self.row_sources), dtype=np.int32), self.row_sources)

    def prepared_bytes(self, sampling_rate: int) -> npt.NDArray[np.int64]:
        """Of each clip, what it takes when it is prepared as 16-bit samples, at a rate in Hz."""
        return ((self.seconds * sampling_rate).astype(np.int64) + 1) * 2

    def only(self, rows: npt.NDArray[np.bool_]) -> pa.Table:
        """The rows that are chosen, as a table of split and mix_id: what ``available_only=`` takes as a list."""
        splits = pa.array(self.splits, pa.string()).take(pa.array(self.row_splits[rows]))
        return pa.table({"split": splits, "mix_id": self.mix_ids.filter(pa.array(rows))})


class _Collector:
    """Counts tables in, a large part of them at once: what is known so far is gone through for each part."""

    def __init__(self) -> None:
        self._known = {name: pa.array([], pa.string()) for name in ("path", "label", "split")}
        self._keys = pa.array([], pa.int64())
        self._numbers = {name: bytearray() for name in _TYPES}
        self._mix_ids: list[pa.Array] = []
        self._pending: list[tuple[pa.Array, ...]] = []
        self._pending_rows = 0

    def add(self, table: pa.Table) -> None:
        """Count in a table of `RECIPE_SCHEMA`."""
        for batch in table.to_batches():
            uses = batch.column("sources").flatten()
            self._extend("row_sources", pc.list_value_length(batch.column("sources")).to_numpy())
            self._pending.append((batch.column("mix_id"), batch.column("split"), *map(uses.field, _USED_FIELDS)))
            self._pending_rows += len(batch)
        if self._pending_rows >= _PART_ROWS:
            self._count()

    def _count(self) -> None:
        parts = zip(*self._pending, strict=True)
        mix_ids, splits, paths, labels, start, end = (pa.concat_arrays(part) for part in parts)
        self._pending, self._pending_rows = [], 0
        files = self._encode("path", paths).astype(np.int64)
        start, end = start.to_numpy(), end.to_numpy()
        mixed = start.view(np.uint64) * _MIX[0] ^ end.view(np.uint64) * _MIX[1]
        before = len(self._keys)
        keys = pa.array(files << 32 | (mixed >> np.uint64(32)).astype(np.int64))
        self._keys, clips = _number(self._keys, keys)
        new = np.flatnonzero(clips >= before)
        first = new[np.unique(clips[new], return_index=True)[1]]
        self._extend("files", files[first])
        self._extend("seconds", end[first] - start[first])
        self._extend("clips", clips)
        self._extend("label_ids", self._encode("label", labels))
        self._extend("row_splits", self._encode("split", splits))
        self._mix_ids.append(mix_ids)

    def finish(self) -> Demand:
        """What was counted."""
        if self._pending:
            self._count()
        pa.default_memory_pool().release_unused()  # what tables took, of which Arrow keeps some for the next
        prefixes = prefixes_of(self._known["path"]).dictionary_encode()
        numbers: dict[str, Any] = {name: np.frombuffer(held, _TYPES[name]) for name, held in self._numbers.items()}
        return Demand(
            paths=self._known["path"],
            prefixes=prefixes.dictionary.to_pylist(),
            labels=self._known["label"].to_pylist(),
            splits=self._known["split"].to_pylist(),
            corpora=prefixes.indices.to_numpy().astype(np.int16),
            mix_ids=pa.chunked_array(self._mix_ids, pa.string()),
            **numbers,
        )

    def _encode(self, kind: str, values: pa.Array) -> npt.NDArray[np.int32]:
        """Strings as their positions among all of their kind so far, which grow by those that are new."""
        self._known[kind], positions = _number(self._known[kind], values)
        return positions

    def _extend(self, name: str, values: npt.NDArray[Any]) -> None:
        self._numbers[name] += values.astype(_TYPES[name]).tobytes()


def _number(known: pa.Array, values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """The known values and those that are new, and the position of each value among them.

    Example:
        >>> known, positions = _number(pa.array(["a"]), pa.array(["b", "a", "c", "b"]))
        >>> known.to_pylist(), positions.tolist()
        (['a', 'b', 'c'], [1, 0, 2, 1])
    """
    found = pc.index_in(values, value_set=known)
    if found.null_count:
        known = pa.concat_arrays([known, pc.unique(values.filter(found.is_null()))])
        found = pc.index_in(values, value_set=known)
    positions: npt.NDArray[np.int32] = found.to_numpy()
    return known, positions


def collect_demand(tables: Iterable[pa.Table]) -> Demand:
    """What tables of `RECIPE_SCHEMA` need.

    Example:
        >>> from hive_datasets import Subset, demo_folder
        >>> demand = collect_demand(Subset(demo_folder() / "metadata").tables())
        >>> len(demand.row_sources), len(demand.paths), demand.prefixes[:2]
        (40, 24, ['AVE_Dataset', 'vggsound'])
    """
    collector = _Collector()
    for table in tables:
        collector.add(table)
    return collector.finish()
