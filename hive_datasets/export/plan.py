"""Which mixtures go into which shard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RecipeError


@dataclass(frozen=True)
class Shard:
    """Mixtures of one split and number of sources.

    Attributes:
        split: their split.
        num_sources: how many sources each has.
        number: of the shard among those, from 1.
        table: the mixtures, a table of `RECIPE_SCHEMA`.
    """

    split: str
    num_sources: int
    number: int
    table: pa.Table

    @property
    def folder(self) -> str:
        """Where it lies: as the authors have it, but for "validation", which loaders know."""
        return f"{self.split}/{self.num_sources}mix"


@dataclass(frozen=True)
class PlannedShard:
    """A shard that is to be written.

    Attributes:
        name: its path in the folder.
        recipes: a hash of its recipes and of how they are rendered.
        num_bytes: its size, if all can be rendered; of FLAC and parquet, about.
        mixtures: how many.
    """

    name: str
    recipes: str
    num_bytes: int
    mixtures: int


def iterate_shards(tables: Iterable[pa.Table], mixtures: int) -> Iterator[Shard]:
    """Mixtures in shards of so many of one split and number of sources, in the order of the metadata.

    Only what does not fill a shard yet is held.

    Raises:
        RecipeError: a split's name is none of a folder.
    """
    pending: dict[tuple[str, int], list[pa.Table]] = {}
    numbers: dict[tuple[str, int], int] = {}

    def take(key: tuple[str, int], table: pa.Table) -> Shard:
        numbers[key] = numbers.get(key, 0) + 1
        return Shard(*key, numbers[key], table)

    for table in tables:
        for key, part in group_table(table):
            parts = [*pending.pop(key, []), part]
            together = pa.concat_tables(parts)
            for start in range(0, len(together), mixtures):
                rows = together.slice(start, mixtures)
                if len(rows) == mixtures:
                    yield take(key, rows)
                else:
                    pending[key] = [rows]
    for key, parts in pending.items():
        yield take(key, pa.concat_tables(parts))


def check_split(split: str) -> None:
    """Make sure that a split can be a folder, and be loaded by its name.

    Raises:
        RecipeError: it cannot.
    """
    if not re.fullmatch(r"\w+", split) or split == "all":
        message = (
            f"split {split!r} cannot name a folder that `datasets` loads: letters, digits and _ can, but for 'all'"
        )
        raise RecipeError(message, field="split")


def group_table(table: pa.Table) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    """The rows of a table of `RECIPE_SCHEMA` by split and number of sources."""
    splits, numbers = table.column("split"), table.column("num_sources")
    for split in pc.unique(splits).to_pylist():
        check_split(split)
        of_split = pc.equal(splits, split)
        for num_sources in sorted(pc.unique(numbers.filter(of_split)).to_pylist()):
            yield (split, num_sources), table.filter(pc.and_(of_split, pc.equal(numbers, num_sources)))
