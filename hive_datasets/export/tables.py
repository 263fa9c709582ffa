"""What is known of the mixtures of a shard without going through them one by one: a hash, sizes, faults."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..recipe import Recipe
from ..recipe.schema import SOURCE_FIELDS
from ..recipe.tables import recipes_from_table

Counts = npt.NDArray[np.int64]

#: What JSON writes otherwise than it is.
_ESCAPED = r'["\\\x00-\x1f]'
#: Between these, Python writes a float without an exponent, as Arrow does.
_PLAIN_MIN, _PLAIN_MAX = 1e-4, 1e16


def hash_recipes(table: pa.Table, way: str) -> str:
    """A hash of the recipes of a table of `RECIPE_SCHEMA`, however it is cut and chunked, and of how they are rendered.

    Example:
        >>> import hive_datasets
        >>> metadata = hive_datasets.Subset(hive_datasets.demo_folder() / "metadata", splits=["train"])
        >>> table = next(metadata.tables())
        >>> hash_recipes(table, "") == hash_recipes(pa.concat_tables([table[:5], table[5:]]), "")
        True
        >>> hash_recipes(table, "") == hash_recipes(table[1:], "")
        False
    """
    digest = xxhash.xxh3_128(f"{way}/{len(table)}".encode())
    for _, values in _values_of(table):
        if not pa.types.is_string(values.type):
            digest.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).data)
            continue
        digest.update(pc.binary_length(values).to_numpy(zero_copy_only=False))
        _, offsets, data = values.buffers()
        if data is not None:
            ends = np.frombuffer(offsets, np.int32)[[values.offset, values.offset + len(values)]]
            digest.update(memoryview(data)[slice(*ends)])
    return digest.hexdigest()


def count_text_bytes(table: pa.Table, describe: Callable[[Recipe], str], twice: Collection[str] = ()) -> Counts:
    """The bytes of what describes each mixture of a table, as UTF-8, mixtures of one number of sources.

    Counted of the values, whose places are the same for all: the first text tells how many bytes are not of values.

    Args:
        table: of `RECIPE_SCHEMA`.
        describe: the text of a recipe: JSON that has all fields of the recipe.
        twice: fields that it has twice.
    """
    if not len(table):
        return np.zeros(0, np.int64)
    values = np.zeros(len(table), np.int64)
    unusual = np.zeros(len(table), bool)
    for name, column in _values_of(table):
        if pa.types.is_string(column.type):
            lengths = pc.binary_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
            if _may_be_escaped(column):
                escaped = pc.match_substring_regex(column, _ESCAPED).to_numpy(zero_copy_only=False)
                unusual |= _by_row(escaped, table) > 0
        elif pa.types.is_floating(column.type):
            lengths = _repr_lengths(column.to_numpy(zero_copy_only=False))
        else:
            lengths = pc.binary_length(column.cast(pa.string())).to_numpy(zero_copy_only=False).astype(np.int64)
        values += _by_row(lengths, table) * (2 if name in twice else 1)
    rows = np.flatnonzero(~unusual)
    counts = values
    if len(rows):
        first = int(rows[0])
        counts = values - values[first] + _text_bytes(table, first, describe)
    for row in np.flatnonzero(unusual):
        counts[row] = _text_bytes(table, int(row), describe)
    return counts


def _text_bytes(table: pa.Table, row: int, describe: Callable[[Recipe], str]) -> int:
    return len(describe(recipes_from_table(table.slice(row, 1))[0]).encode())


def _repr_lengths(values: npt.NDArray[np.float64]) -> Counts:
    """How long the floats are as Python, and so JSON, writes them.

    Example:
        >>> _repr_lengths(np.array([0.1, 3.0, -2.5, 1e-05, 1e16, 0.0])).tolist()
        [3, 3, 4, 5, 5, 3]
    """
    lengths: Counts = pc.binary_length(pc.cast(pa.array(values), pa.string())).to_numpy().astype(np.int64)
    lengths += 2 * (values == np.rint(values))  # Arrow leaves ".0" out
    sizes = np.abs(values)
    for position in np.flatnonzero((sizes != 0) & ((sizes < _PLAIN_MIN) | (sizes >= _PLAIN_MAX))):
        lengths[position] = len(repr(float(values[position])))
    return lengths


def _may_be_escaped(texts: pa.Array) -> bool:
    """Whether there is in all the bytes of a column, or near it, one that JSON escapes."""
    data = texts.buffers()[2]
    if data is None:
        return False
    found = np.frombuffer(data, np.uint8)
    return bool(((found < 0x20) | (found == ord('"')) | (found == ord("\\"))).any())


def _values_of(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """The columns of a table of `RECIPE_SCHEMA`, those of its sources too, each as one array."""
    for name in table.column_names:
        column = table.column(name)
        values = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        if name != "sources":
            yield name, values
            continue
        flat = values.flatten()
        for field, _ in SOURCE_FIELDS:
            yield field, flat.field(field)


def _by_row(values: npt.NDArray[np.generic], table: pa.Table) -> Counts:
    """The sums of values of sources by row; values of rows as they are."""
    if len(values) == len(table):
        return values.astype(np.int64)
    sums: Counts = values.reshape(len(table), -1).astype(np.int64).sum(axis=1)
    return sums
