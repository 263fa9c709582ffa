"""What metadata needs of the sources: every distinct file once, and which mixtures need which files."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..recipe.parsing import normalize_split
from ..sources import find_corpus

#: Seconds on each side of a crop that a resampler needs too.
CROP_MARGIN = 0.1


@dataclass
class Needs:
    """Mixtures as numbers: rows are mixtures, uses are their sources one after the other.

    Attributes:
        paths: the distinct metadata paths; a file is known by its position in this list.
        labels: the distinct labels, likewise.
        splits: the distinct splits, likewise.
        files, label_ids: of each use, int32.
        spans: of each use, float64 of shape (uses, 4): start and end of the chunk, and of the crop,
            in seconds from the start of the file. Empty if `keep_spans` is False.
        row_splits, row_sources: of each row: its split and how many uses it has, int32.
        row_num_sources: of each row, how many sources its mixture has: more than uses where only some corpora count.
        mix_ids: of each row.
    """

    keep_spans: bool = True
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    mix_ids: list[pa.Array] = field(default_factory=list)
    _positions: dict[str, dict[str, int]] = field(default_factory=dict)
    _numbers: dict[str, array[int]] = field(default_factory=dict)
    _spans: array[float] = field(default_factory=lambda: array("d"))

    def add(self, table: pa.Table) -> None:
        """Count in a table of `RECIPE_SCHEMA`."""
        for column in ("sources", "split", "mix_id"):
            table = table.set_column(
                table.schema.get_field_index(column), column, table.column(column).combine_chunks()
            )
        sources = table.column("sources").chunk(0) if len(table) else None
        if sources is None:
            return
        uses = sources.flatten()
        self._extend("files", self._encode("paths", uses.field("path")))
        self._extend("label_ids", self._encode("labels", uses.field("label")))
        self._extend("row_splits", self._encode("splits", table.column("split").chunk(0)))
        self._extend("row_sources", pc.list_value_length(sources).to_numpy())
        self._extend("row_num_sources", table.column("num_sources").to_numpy())
        self.mix_ids.append(table.column("mix_id").chunk(0))
        if self.keep_spans:
            chunk = [uses.field(name).to_numpy() for name in ("chunk_start_second", "chunk_end_second")]
            crop = [chunk[0] + uses.field(name).to_numpy() for name in ("crop_start_second", "crop_end_second")]
            self._spans.frombytes(np.stack([*chunk, *crop], axis=1).astype(np.float64).tobytes())

    @property
    def files(self) -> npt.NDArray[np.int32]:
        """See the class."""
        return self._array("files")

    @property
    def label_ids(self) -> npt.NDArray[np.int32]:
        """See the class."""
        return self._array("label_ids")

    @property
    def row_splits(self) -> npt.NDArray[np.int32]:
        """See the class."""
        return self._array("row_splits")

    @property
    def row_sources(self) -> npt.NDArray[np.int32]:
        """See the class."""
        return self._array("row_sources")

    @property
    def row_num_sources(self) -> npt.NDArray[np.int32]:
        """See the class."""
        return self._array("row_num_sources")

    @property
    def spans(self) -> npt.NDArray[np.float64]:
        """See the class."""
        return np.asarray(self._spans, dtype=np.float64).reshape(-1, 4)

    @property
    def row_of_use(self) -> npt.NDArray[np.int32]:
        """The row of each use."""
        return np.repeat(np.arange(len(self.row_sources), dtype=np.int32), self.row_sources)

    @property
    def crop_of_use(self) -> npt.NDArray[np.float64]:
        """Start and end of the crop of each use, as far as its chunk goes, in seconds, (uses, 2)."""
        spans = self.spans
        return np.stack([spans[:, 2], np.minimum(spans[:, 3], spans[:, 1])], axis=1)

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
        spans = self.spans
        for start, stop in itertools.pairwise(bounds.tolist()):
            chunk_start, chunk_stop, crop_start, crop_stop = spans[order[start:stop]].T
            crop_stop = np.minimum(crop_stop, chunk_stop)
            first = np.maximum(chunk_start, crop_start - CROP_MARGIN)
            last = np.minimum(chunk_stop, crop_stop + CROP_MARGIN)
            yield np.unique(np.stack([first, last, crop_start, crop_stop], axis=1), axis=0)

    def _encode(self, kind: str, values: pa.Array) -> npt.NDArray[np.int32]:
        """Strings as positions in the list of that kind, which grows by those that are new."""
        encoded = values.dictionary_encode()
        known, names = self._positions.setdefault(kind, {}), getattr(self, kind)
        positions = []
        for name in encoded.dictionary.to_pylist():
            position = known.setdefault(name, len(known))
            if position == len(names):
                names.append(name)
            positions.append(position)
        found: npt.NDArray[np.int32] = np.asarray(positions, dtype=np.int32)[encoded.indices.to_numpy()]
        return found

    def _extend(self, name: str, values: npt.NDArray[Any]) -> None:
        self._numbers.setdefault(name, array("i")).frombytes(values.astype(np.int32).tobytes())

    def _array(self, name: str) -> npt.NDArray[np.int32]:
        return np.asarray(self._numbers.get(name, array("i")), dtype=np.int32)


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
    needs = Needs(keep_spans)
    wanted = None if corpora is None else {_corpus_name(name) for name in corpora}
    for table in tables:
        if splits is not None:
            names = sorted(map(normalize_split, splits))
            table = table.filter(pc.is_in(table.column("split"), value_set=pa.array(names)))
        if wanted is not None:
            table = _keep_corpora(table, wanted)
        needs.add(table)
    return needs


def corpus_of(path: str) -> str:
    """The first component of a metadata path."""
    return path.partition("/")[0]


def _corpus_name(component: str) -> str:
    corpus = find_corpus(component)
    return corpus.name if corpus else component.casefold()


def _keep_corpora(table: pa.Table, wanted: set[str]) -> pa.Table:
    """The rows that have sources of these corpora, and of their sources only those."""
    if not len(table):
        return table
    sources = table.column("sources").combine_chunks()
    uses = sources.flatten()
    keep = np.fromiter((_corpus_name(corpus_of(path)) in wanted for path in uses.field("path").to_pylist()), bool)
    lengths = np.bincount(pc.list_parent_indices(sources).to_numpy()[keep], minlength=len(table))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    kept = pa.ListArray.from_arrays(offsets, uses.filter(pa.array(keep)))
    return table.set_column(table.schema.get_field_index("sources"), "sources", kept).filter(pa.array(lengths > 0))
