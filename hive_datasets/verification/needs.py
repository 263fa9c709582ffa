"""What metadata needs of the sources: every distinct file once, and which mixtures need which files."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..recipe.parsing import normalize_split
from ..sources.corpora import name_of

#: Seconds on each side of a crop that a resampler needs too.
CROP_MARGIN = 0.1


@dataclass(frozen=True)
class Needs:
    """Mixtures as numbers: rows are mixtures, uses are their sources one after the other.

    Attributes:
        paths: the distinct metadata paths; a file is known by its position in this list.
        labels: the distinct labels, likewise.
        splits: the distinct splits, likewise.
        files, label_ids: of each use, int32.
        spans: of each use, float64 of shape (uses, 4): start and end of the chunk, and of the crop,
            in seconds from the start of the file. Empty if they were not kept.
        row_splits, row_sources: of each row: its split and how many uses it has, int32.
        row_num_sources: of each row, how many sources its mixture has: more than uses where only some corpora count.
        mix_ids: of each row, strings.
    """

    paths: list[str]
    labels: list[str]
    splits: list[str]
    files: npt.NDArray[np.int32]
    label_ids: npt.NDArray[np.int32]
    spans: npt.NDArray[np.float64]
    row_splits: npt.NDArray[np.int32]
    row_sources: npt.NDArray[np.int32]
    row_num_sources: npt.NDArray[np.int32]
    mix_ids: pa.ChunkedArray

    @property
    def row_of_use(self) -> npt.NDArray[np.int32]:
        """The row of each use."""
        return np.repeat(np.arange(len(self.row_sources), dtype=np.int32), self.row_sources)

    @property
    def crop_of_use(self) -> npt.NDArray[np.float64]:
        """Start and end of the crop of each use, as far as its chunk goes, in seconds, (uses, 2)."""
        return np.stack([self.spans[:, 2], np.minimum(self.spans[:, 3], self.spans[:, 1])], axis=1)

    def uses_of(self, files: Collection[int]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """The uses of each of some files."""
        chosen = np.flatnonzero(np.isin(self.files, list(files)))
        order = chosen[np.argsort(self.files[chosen], kind="stable")]
        found, starts = np.unique(self.files[order], return_index=True)
        yield from zip(found.tolist(), np.split(order, starts[1:]), strict=False)

    def crops(self) -> Iterator[npt.NDArray[np.float64]]:
        """For each path, the distinct crops in seconds, (n, 4): what to read (with a margin), and the crop itself."""
        order = np.argsort(self.files, kind="stable")
        bounds = np.searchsorted(self.files[order], np.arange(len(self.paths) + 1))
        for start, stop in itertools.pairwise(bounds.tolist()):
            chunk_start, chunk_stop, crop_start, crop_stop = self.spans[order[start:stop]].T
            crop_stop = np.minimum(crop_stop, chunk_stop)
            first = np.maximum(chunk_start, crop_start - CROP_MARGIN)
            last = np.minimum(chunk_stop, crop_stop + CROP_MARGIN)
            yield np.unique(np.stack([first, last, crop_start, crop_stop], axis=1), axis=0)


class _Collector:
    """Makes `Needs` of tables, in arrays that grow: a mixture is a few dozen bytes."""

    def __init__(self, keep_spans: bool) -> None:
        self._keep_spans = keep_spans
        self._positions: dict[str, dict[str, int]] = {name: {} for name in ("path", "label", "split")}
        columns = ("files", "label_ids", "row_splits", "row_sources", "row_num_sources")
        self._numbers = {name: array("i") for name in columns}
        self._spans = array("d")
        self._mix_ids: list[pa.Array] = []

    def add(self, table: pa.Table) -> None:
        """Count in a table of `RECIPE_SCHEMA`."""
        for batch in table.combine_chunks().to_batches():
            sources = batch.column("sources")
            uses = sources.flatten()
            self._extend("files", self._encode("path", uses.field("path")))
            self._extend("label_ids", self._encode("label", uses.field("label")))
            self._extend("row_splits", self._encode("split", batch.column("split")))
            self._extend("row_sources", pc.list_value_length(sources).to_numpy())
            self._extend("row_num_sources", batch.column("num_sources").to_numpy())
            self._mix_ids.append(batch.column("mix_id"))
            if self._keep_spans:
                chunk = [uses.field(name).to_numpy() for name in ("chunk_start_second", "chunk_end_second")]
                start, stop = (uses.field(name).to_numpy() for name in ("crop_start_second", "crop_end_second"))
                longest = np.repeat(
                    batch.column("target_duration").to_numpy(), pc.list_value_length(sources).to_numpy()
                )
                crop = [chunk[0] + start, chunk[0] + np.minimum(stop, start + longest)]
                self._spans.frombytes(np.stack([*chunk, *crop], axis=1).astype(np.float64).tobytes())

    def finish(self) -> Needs:
        """What was counted."""
        paths, labels, splits = map(list, self._positions.values())
        numbers = {name: np.asarray(values, dtype=np.int32) for name, values in self._numbers.items()}
        spans = np.asarray(self._spans, dtype=np.float64).reshape(-1, 4)
        mix_ids = pa.chunked_array(self._mix_ids, pa.string())
        return Needs(paths, labels, splits, spans=spans, mix_ids=mix_ids, **numbers)

    def _encode(self, kind: str, values: pa.Array) -> npt.NDArray[np.int32]:
        """Strings as their positions among all of their kind so far, which grow by those that are new."""
        encoded = values.dictionary_encode()
        known = self._positions[kind]
        positions = [known.setdefault(name, len(known)) for name in encoded.dictionary.to_pylist()]
        found: npt.NDArray[np.int32] = np.asarray(positions, dtype=np.int32)[encoded.indices.to_numpy()]
        return found

    def _extend(self, name: str, values: npt.NDArray[Any]) -> None:
        self._numbers[name].frombytes(values.astype(np.int32).tobytes())


def collect_needs(
    tables: Iterable[pa.Table],
    splits: Collection[str] | None = None,
    corpora: Collection[str] | None = None,
    keep_spans: bool = True,
) -> Needs:
    """What tables of `RECIPE_SCHEMA` need.

    Args:
        tables: the metadata.
        splits: only mixtures of these ("val" is "validation").
        corpora: only sources of these (any name that `find_corpus` knows), and mixtures that have such.
        keep_spans: whether to keep which seconds are needed.
    """
    collector = _Collector(keep_spans)
    wanted = None if corpora is None else {name_of(name) for name in corpora}
    for table in tables:
        if splits is not None:
            names = sorted(map(normalize_split, splits))
            table = table.filter(pc.is_in(table.column("split"), value_set=pa.array(names)))
        if wanted is not None:
            table = _keep_corpora(table, wanted)
        collector.add(table)
    return collector.finish()


def corpus_of(path: str) -> str:
    """The first component of a metadata path."""
    return path.partition("/")[0]


def _keep_corpora(table: pa.Table, wanted: set[str]) -> pa.Table:
    """The rows that have sources of these corpora, and of their sources only those."""
    if not len(table):
        return table
    sources = table.column("sources").combine_chunks()
    uses = sources.flatten()
    keep = np.fromiter((name_of(corpus_of(path)) in wanted for path in uses.field("path").to_pylist()), bool)
    lengths = np.bincount(pc.list_parent_indices(sources).to_numpy()[keep], minlength=len(table))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    kept = pa.ListArray.from_arrays(offsets, uses.filter(pa.array(keep)))
    return table.set_column(table.schema.get_field_index("sources"), "sources", kept).filter(pa.array(lengths > 0))
