"""Rows of a table as examples of an epoch, which worker processes make."""

from __future__ import annotations

from collections.abc import Sequence

from .table import RecipeTable
from .targets import Example, SelectTarget

#: An epoch, a row, and the label that is to be the target, if the order says so.
Draw = tuple[int, int, str | None]


class ExampleTable:
    """The examples of a table: a map-style dataset, whose keys name an epoch, too.

    Args:
        table: of recipes.
        select: makes examples of them.

    Example:
        >>> import hive_datasets
        >>> table = RecipeTable(hive_datasets.load_dataset("hive", "demo", split="train"))
        >>> examples = ExampleTable(table, SelectTarget(swap=1.0))
        >>> [example.options for example in examples.__getitems__([(0, 5, None), (0, 6, None)])]
        [{'swap': 'sample_00000014/s2'}, {'swap': 'sample_00000013/s1'}]
    """

    def __init__(self, table: RecipeTable, select: SelectTarget) -> None:
        self.table, self.select = table, select

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, draw: Draw) -> list[Example]:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw]) -> list[Example]:
        recipes = self.table.__getitems__([row for _, row, _ in draws])
        wanted = [
            self.select.find_partner(recipe, epoch, len(self.table))
            for recipe, (epoch, _, _) in zip(recipes, draws, strict=True)
        ]
        found = iter(self.table.__getitems__([row for row in wanted if row is not None]))
        partners = [None if row is None else next(found) for row in wanted]
        return [
            example
            for recipe, partner, (epoch, _, label) in zip(recipes, partners, draws, strict=True)
            for example in self.select(recipe, epoch, label=label, partner=partner)
        ]
