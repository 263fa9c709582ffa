"""What metadata needs: every distinct chunk once, whole or only the samples that its mixtures use. Pure arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..prepared.index import KEY
from ..recipe import Source
from ..recipe.tables import crop_samples

#: The end of a chunk, where all of it is wanted.
TO_END = 2**62
#: Rows that are collected before those that are there twice are dropped.
_PENDING_ROWS = 2_000_000

Samples = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clip:
    """Samples of a chunk that are wanted.

    Attributes:
        path, chunk_start_second, chunk_end_second: the chunk, as in the metadata.
        start, stop: samples of the resampled chunk, from and to; `TO_END` for all.
    """

    path: str
    chunk_start_second: float
    chunk_end_second: float
    start: int = 0
    stop: int = TO_END

    def max_samples(self, sampling_rate: int) -> int:
        """How many samples it has, if its chunk is as long as the metadata says."""
        chunk = int((self.chunk_end_second - self.chunk_start_second) * sampling_rate) + 1
        return max(0, min(self.stop, chunk) - self.start)

    def to_source(self) -> Source:
        """Its chunk as a source of a recipe."""
        start, end = self.chunk_start_second, self.chunk_end_second
        return Source("s1", self.path, "", 0.0, end - start, start, end, 1.0, 0.0, 1.0)


def collect_clips(tables: Iterable[pa.Table], sampling_rate: int, only_crops: bool = False) -> pa.Table:
    """Every distinct chunk that tables of `RECIPE_SCHEMA` use.

    Args:
        tables: the metadata.
        sampling_rate: rate in Hz of the samples.
        only_crops: only the samples that are in some mixture's crop: the union of them, a row an interval.

    Returns:
        a table with the columns of `KEY`, `start` and `stop`, in their order.
    """
    collected: pa.Table = _empty()
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(_uses(table, sampling_rate, only_crops))
        if sum(map(len, pending)) > _PENDING_ROWS:
            collected, pending = _unite(pa.concat_tables([collected, *pending])), []
    return _unite(pa.concat_tables([collected, *pending]))


def iterate_clips(table: pa.Table) -> Iterator[Clip]:
    """The rows of a table that `collect_clips` made."""
    for batch in table.to_batches(max_chunksize=10_000):
        yield from itertools.starmap(Clip, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _uses(table: pa.Table, sampling_rate: int, only_crops: bool) -> pa.Table:
    uses = table.column("sources").combine_chunks().flatten()
    if only_crops:
        start, stop = crop_samples(table, sampling_rate)
    else:
        start, stop = np.zeros(len(uses), np.int64), np.full(len(uses), TO_END)
    arrays = [*(uses.field(name) for name in KEY), pa.array(start), pa.array(stop)]
    return pa.table(arrays, schema=_SCHEMA)


_SCHEMA = pa.schema(
    [(KEY[0], pa.string()), (KEY[1], pa.float64()), (KEY[2], pa.float64()), ("start", pa.int64()), ("stop", pa.int64())]
)


def _empty() -> pa.Table:
    return _SCHEMA.empty_table()


def _unite(table: pa.Table) -> pa.Table:
    """Rows in order; of the same chunk, intervals that touch as one."""
    table = table.group_by(_SCHEMA.names).aggregate([])
    table = table.sort_by([(name, "ascending") for name in _SCHEMA.names]).combine_chunks()
    if len(table) < 2:
        return table
    same_chunk = np.ones(len(table) - 1, dtype=bool)
    for name in KEY:
        column = table.column(name)
        same_chunk &= pc.equal(column.slice(1), column.slice(0, len(table) - 1)).to_numpy()
    start, stop = table.column("start").to_numpy(), table.column("stop").to_numpy()
    starts_group = np.concatenate([[True], ~same_chunk])
    reach = _running_maximum(stop, starts_group)
    is_first = starts_group | np.concatenate([[True], start[1:] > reach[:-1]])
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(table)) - 1
    united = table.take(pa.array(first))
    return united.set_column(4, "stop", pa.array(reach[last]))


def _running_maximum(values: Samples, starts_group: npt.NDArray[np.bool_]) -> Samples:
    """The largest value of a group so far.

    Example:
        >>> _running_maximum(np.array([3, 1, 2, 5]), np.array([True, False, True, False]))
        array([3, 3, 2, 5])
    """
    # ranks instead of values, raised by more than any rank for every group, cannot reach over from one to the next
    ranks, groups = np.unique(values, return_inverse=True)[1], np.cumsum(starts_group)
    order = np.maximum.accumulate(ranks + groups * len(values)) - groups * len(values)
    result: Samples = np.unique(values)[order]
    return result
