"""Files of metadata in parts that workers share, and as much of them as a question takes."""

from __future__ import annotations

import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

from ..recipe.reading import PARQUET_SUFFIXES, open_parquet, read_choosable, read_json_tables, read_row_group
from ..recipe.selection import Seen, Selection, explain_filters

#: A parquet file is cut into at least this many shards, so that as many workers can share it.
MIN_SHARDS = 8


@dataclass(frozen=True)
class Shard:
    """A part of the metadata that one worker reads: a JSON file, or rows of one row group of a parquet file.

    Attributes:
        name: the file as the user knows it.
        file: what to open: the same, or a downloaded copy.
        row_group, start, stop: which rows; None in a JSON file.
    """

    name: str
    file: str
    row_group: int | None = None
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class ShardReader:
    """Reads the shards that can hold chosen rows.

    Args:
        selection: which rows are asked for.
        open_file: opens a file of metadata, wherever it is, for reading bytes.
    """

    selection: Selection
    open_file: Callable[[str], Any]

    def list_shards(self, name: str, file: str) -> list[Shard]:
        """The shards of a file in which rows that are asked for can be."""
        allowed = self.selection.allowed_num_sources
        if not name.endswith(PARQUET_SUFFIXES):
            # the authors sort their JSON files into folders by number of sources
            folder = re.fullmatch(r"(\d+)mix", os.path.basename(os.path.dirname(name)))
            return [] if folder and allowed is not None and int(folder[1]) not in allowed else [Shard(name, file)]
        with self.open_file(file) as stream:
            row_groups = _matching_row_groups(open_parquet(stream, name), stream, self.selection.row_filter())
        parts = -(-MIN_SHARDS // max(1, len(row_groups)))
        return [
            Shard(name, file, row_group, start, stop)
            for row_group, num_rows in row_groups
            for start, stop in _divide(num_rows, parts)
        ]

    def read(self, shard: Shard) -> Iterator[pa.Table]:
        """All rows of a shard, as tables of `RECIPE_SCHEMA`."""
        if shard.row_group is None:
            yield from self.read_json(shard.file, shard.name)
            return
        with self.open_file(shard.file) as stream:
            parquet = open_parquet(stream, shard.name)
            yield from read_row_group(parquet, shard.name, shard.row_group, shard.start, shard.stop)

    def read_json(self, file: str, name: str | None = None) -> Iterator[pa.Table]:
        """All rows of a JSON file, known to the user by `name`."""
        with self.open_file(file) as stream, io.TextIOWrapper(stream, encoding="utf-8") as text:
            yield from read_json_tables(text, name or file)

    def find_chosen(self, shards: Iterable[Shard], seen: Seen, any_row: bool = False) -> bool:
        """Whether there is, in the files of these shards, all that is asked for, or any of it."""
        for name, file in {shard.name: shard.file for shard in shards}.items():
            for table in self._glance(name, file):
                seen.note(table)
                seen.chosen += len(self.selection.apply(table))
                if seen.chosen if any_row else seen.has_all:
                    return True
        return False

    def _glance(self, name: str, file: str) -> Iterator[pa.Table]:
        """As much of a file as tells which rows are chosen; of parquet, without sources, or with their labels alone."""
        if not name.endswith(PARQUET_SUFFIXES):
            yield from self.read_json(file, name)
            return
        with self.open_file(file) as stream:
            parquet = open_parquet(stream, name)
            for row_group in range(parquet.metadata.num_row_groups):
                yield from read_choosable(parquet, name, row_group, self.selection.labels is not None)


def _matching_row_groups(
    parquet: pq.ParquetFile, stream: Any, row_filter: pc.Expression | None
) -> list[tuple[int, int]]:
    """The row groups that can hold matching rows, by their statistics, with their numbers of rows."""
    metadata = parquet.metadata
    indices: Any = range(metadata.num_row_groups)
    if row_filter is not None:
        fragment = pyarrow.dataset.ParquetFileFormat().make_fragment(stream)
        try:
            indices = [group.id for group in fragment.subset(filter=row_filter).row_groups]
        except pa.ArrowException as error:
            raise explain_filters(error) from None
    return [(index, metadata.row_group(index).num_rows) for index in indices]


def _divide(num_rows: int, parts: int) -> list[tuple[int, int]]:
    """`num_rows` rows in at most `parts` ranges of nearly equal length, none empty.

    Example:
        >>> _divide(5, 2)
        [(0, 2), (2, 5)]
    """
    bounds = [num_rows * part // parts for part in range(parts + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(bounds) if stop > start]
