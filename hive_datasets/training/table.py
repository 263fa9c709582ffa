"""A loaded dataset as what training takes from it: rows by their numbers, as recipes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset, IterableDataset

from ..dataset import Mixture
from ..recipe import Recipe
from ..recipe.tables import labels_of, recipes_from_struct
from .order import derive_key, permute

#: Rows that a fingerprint looks at, of tables with more.
_FINGERPRINT_ROWS = 256
#: Rows whose labels are read at once.
_BATCH_ROWS = 1 << 16


class RecipeTable:
    """The rows of a loaded dataset as recipes, by their numbers: a map-style dataset for PyTorch's `DataLoader`.

    Rows come through Arrow, many at once (`__getitems__`, which `DataLoader` calls), and never as Python's dicts: some
    40,000 a second, of which five million take no more memory than five.

    Args:
        dataset: a loaded dataset with a column of mixtures, or a list of recipes.
        column: which one.

    Raises:
        TypeError: it is a stream, which has no rows by number, or something else.
        ValueError: it has no such column, or no rows.

    Example:
        >>> import hive_datasets
        >>> table = RecipeTable(hive_datasets.load_dataset("hive", "demo", split="train"))
        >>> len(table), table[3].mix_id, [recipe.num_sources for recipe in table.__getitems__([5, 0])]
        (24, 'sample_00000003', [3, 2])
    """

    def __init__(self, dataset: Dataset | Sequence[Recipe], column: str = "mixture") -> None:
        if isinstance(dataset, IterableDataset):
            raise TypeError(
                "a stream has no rows by number: leave streaming=True out of load_dataset, which makes a table on disk "
                "once (of Hive's 5,000,000 rows 3 GB, in half a minute)"
            )
        self.column = column
        self._recipes: Sequence[Recipe] | None = None
        if isinstance(dataset, Dataset):
            if not isinstance(dataset.features.get(column), Mixture):
                raise ValueError(f"there is no column {column!r} of mixtures, but {', '.join(dataset.column_names)}")
            self._rows: Any = dataset.with_format("arrow", columns=[column])
        elif isinstance(dataset, Sequence) and all(isinstance(each, Recipe) for each in dataset):
            self._rows = self._recipes = dataset
        else:
            raise TypeError(f"give a loaded dataset of mixtures, or a list of recipes, not {type(dataset).__name__}")
        if not len(self._rows):
            raise ValueError("there are no rows: nothing to train on")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Recipe:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Recipe]:
        if self._recipes is not None or not len(rows):
            return [(self._recipes or [])[row] for row in rows]
        return recipes_from_struct(_combine(self._rows[list(rows)], self.column))

    def label_batches(self) -> Iterator[pa.ListArray]:
        """The labels of every row, as list arrays of Arrow, some rows each."""
        if self._recipes is not None:
            yield pa.array([recipe.labels for recipe in self._recipes], pa.list_(pa.string()))
            return
        for batch in self._rows.iter(batch_size=_BATCH_ROWS):
            yield labels_of(pa.Table.from_struct_array(_combine(batch, self.column)))

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells this table from others: how many rows there are, and what 256 of them name.

        Those are the first, the last and others from all over the table, by their mix_id, split, factor and files. The
        same on every machine, wherever the sources lie, which the fingerprints of `datasets` are not.
        """
        num_rows = len(self)
        places = np.arange(min(num_rows, _FINGERPRINT_ROWS))
        rows = permute(places, num_rows, derive_key(0)).tolist()
        hashed = xxhash.xxh3_64(str(num_rows).encode())
        for recipe in self.__getitems__([0, *rows, num_rows - 1]):
            named = (recipe.mix_id, recipe.split, recipe.global_normalization_factor)
            hashed.update(repr((named, [source.path for source in recipe.sources])).encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()


def _combine(table: pa.Table, column: str) -> pa.StructArray:
    chunks = table.column(column).chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
