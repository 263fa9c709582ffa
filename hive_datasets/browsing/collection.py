"""The mixtures that can be browsed: choosing among them, and a page of them at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..recipe import RECIPE_SCHEMA, Recipe
from ..recipe.tables import labels_of, prefixes_of, recipes_from_table
from ..sources.corpora import title_of

Rows = npt.NDArray[np.bool_]


class Collection:
    """Mixtures in memory, some 1 KB each.

    Args:
        tables: the mixtures, tables of `RECIPE_SCHEMA`.

    Example:
        >>> import hive_datasets
        >>> demo = Collection(hive_datasets.Subset(hive_datasets.demo_folder() / "metadata").tables())
        >>> len(demo), demo.find({"label": ["Clock"], "num_sources": ["2"]}).tolist()
        (40, [0, 20])
    """

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._table = pa.concat_tables([RECIPE_SCHEMA.empty_table(), *tables]).combine_chunks()
        labels = labels_of(self._table)
        of_source = np.repeat(np.arange(len(self._table)), np.diff(labels.offsets.to_numpy()))
        paths = self._table.column("sources").combine_chunks().flatten().field("path")
        prefixes = prefixes_of(paths).dictionary_encode()
        titles = pa.array(map(title_of, prefixes.dictionary.to_pylist()), pa.string()).take(prefixes.indices)
        of_row = np.arange(len(self._table))
        numbers = self._table.column("num_sources").cast(pa.string()).combine_chunks()
        self.facets = {
            "label": _Facet(labels.flatten(), of_source, len(self._table)),
            "corpus": _Facet(titles, of_source, len(self._table)),
            "num_sources": _Facet(numbers, of_row, len(self._table)),
            "split": _Facet(self._table.column("split").combine_chunks(), of_row, len(self._table)),
        }

    def __len__(self) -> int:
        return len(self._table)

    def find(self, wanted: Mapping[str, list[str]]) -> npt.NDArray[np.int64]:
        """The rows that have every wanted value of every facet, and in their mix_id what is wanted of that."""
        rows = np.ones(len(self), dtype=bool)
        for part in wanted.get("mix_id", ()):
            rows &= pc.match_substring(self._table.column("mix_id"), part, ignore_case=True).to_numpy()
        for name, values in wanted.items():
            for value in values if name in self.facets else ():
                rows &= self.facets[name].rows_with(value)
        return np.flatnonzero(rows)

    def recipe(self, row: int) -> Recipe:
        """A mixture.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"there is no mixture {row}, but {len(self)}")
        return recipes_from_table(self._table.slice(row, 1))[0]

    def describe(self) -> dict[str, list[tuple[str, int]]]:
        """The values of each facet, and in how many mixtures they are, the most frequent first."""
        return {name: facet.counts for name, facet in self.facets.items()}


@dataclass
class _Facet:
    """What mixtures can be chosen by: values, each of which belongs to a row."""

    values: pa.Array
    row_of_value: npt.NDArray[np.int64]
    num_rows: int

    def __post_init__(self) -> None:
        encoded = self.values.dictionary_encode()
        self._codes = encoded.indices.to_numpy().astype(np.int32)
        self._numbers = {name: number for number, name in enumerate(encoded.dictionary.to_pylist())}
        del self.values

    def rows_with(self, name: str) -> Rows:
        rows = np.zeros(self.num_rows, dtype=bool)
        rows[self.row_of_value[self._codes == self._numbers.get(name, -1)]] = True
        return rows

    @property
    def counts(self) -> list[tuple[str, int]]:
        width = len(self._numbers) + 1
        pairs = np.unique(self.row_of_value * width + self._codes)
        counts = np.bincount(pairs % width, minlength=width)
        found = [(name, int(counts[number])) for name, number in self._numbers.items()]
        return sorted(found, key=lambda item: (-item[1], item[0]))


def describe_recipe(row: int, recipe: Recipe) -> dict[str, Any]:
    """What the page shows of a mixture."""
    return {
        "row": row,
        "mix_id": recipe.mix_id,
        "split": recipe.split,
        "seconds": recipe.target_duration,
        "sources": [
            {
                "label": source.label,
                "snr_db": source.snr_db,
                "path": source.path,
                "corpus": title_of(source.path),
                "start": source.chunk_start_second + source.crop_start_second,
                "end": min(source.chunk_start_second + source.crop_end_second, source.chunk_end_second),
                "is_padded": source.chunk_start_second + source.crop_end_second > source.chunk_end_second,
            }
            for source in recipe.sources
        ],
    }
