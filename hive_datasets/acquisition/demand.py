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
#: What grows while mixtures are counted.
_TYPES = {
    "files": np.int32,
    "seconds": np.float64,
    "clips": np.int32,
    "label_ids": np.int16,
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

    paths: list[str]
    prefixes: list[str]
    labels: list[str]
    splits: list[str]
    files: npt.NDArray[np.int32]
    seconds: npt.NDArray[np.float64]
    corpora: npt.NDArray[np.int16]
    clips: npt.NDArray[np.int32]
    label_ids: npt.NDArray[np.int16]
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
    def __init__(self) -> None:
        self._positions: dict[str, dict[str, int]] = {name: {} for name in ("path", "label", "split")}
        self._clips: dict[int, int] = {}
        self._numbers = {name: bytearray() for name in _TYPES}
        self._mix_ids: list[pa.Array] = []

    def add(self, table: pa.Table) -> None:
        """Count in a table of `RECIPE_SCHEMA`."""
        for batch in table.combine_chunks().to_batches():
            sources = batch.column("sources")
            uses = sources.flatten()
            files = self._encode("path", uses.field("path")).astype(np.int64)
            start, end = (uses.field(name).to_numpy() for name in ("chunk_start_second", "chunk_end_second"))
            mixed = start.view(np.uint64) * _MIX[0] ^ end.view(np.uint64) * _MIX[1]
            keys, first, inverse = np.unique(
                files << 32 | (mixed >> np.uint64(32)).astype(np.int64), return_index=True, return_inverse=True
            )
            known = self._clips
            before = len(known)
            numbers = np.array([known.setdefault(key, len(known)) for key in keys.tolist()], dtype=np.int32)
            new = first[numbers >= before]  # in the order of their numbers, as their keys are
            self._extend("files", files[new])
            self._extend("seconds", end[new] - start[new])
            self._extend("clips", numbers[inverse])
            self._extend("label_ids", self._encode("label", uses.field("label")))
            self._extend("row_sources", pc.list_value_length(sources).to_numpy())
            self._extend("row_splits", self._encode("split", batch.column("split")))
            self._mix_ids.append(batch.column("mix_id"))

    def finish(self) -> Demand:
        """What was counted."""
        paths, labels, splits = map(list, self._positions.values())
        prefixes = prefixes_of(pa.array(paths, pa.string())).dictionary_encode()
        numbers: dict[str, Any] = {name: np.frombuffer(held, _TYPES[name]) for name, held in self._numbers.items()}
        return Demand(
            paths=paths,
            prefixes=prefixes.dictionary.to_pylist(),
            labels=labels,
            splits=splits,
            corpora=prefixes.indices.to_numpy().astype(np.int16),
            mix_ids=pa.chunked_array(self._mix_ids, pa.string()),
            **numbers,
        )

    def _encode(self, kind: str, values: pa.Array) -> npt.NDArray[np.int32]:
        """Strings as their positions among all of their kind so far, which grow by those that are new."""
        encoded = values.dictionary_encode()
        known = self._positions[kind]
        positions = [known.setdefault(name, len(known)) for name in encoded.dictionary.to_pylist()]
        found: npt.NDArray[np.int32] = np.asarray(positions, dtype=np.int32)[encoded.indices.to_numpy()]
        return found

    def _extend(self, name: str, values: npt.NDArray[np.generic]) -> None:
        self._numbers[name] += values.astype(_TYPES[name]).tobytes()


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
