"""Which mixtures a preview shows: a few of each kind, of corpora whose licence lets others pass their audio on."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import MetadataUnavailableError
from ..recipe import Recipe
from ..recipe.tables import prefixes_of, recipes_from_table
from ..sources import list_corpora
from ..sources.corpora import title_of
from .plan import group_table


class Choice:
    """The first mixtures of each split and number of sources that may be shown.

    Args:
        per_group: how many of each.
        only_shareable: whether all their corpora must let others pass their audio on.

    Attributes:
        seen: how many mixtures there were to choose from.
        restricted: how many of them were passed over because of a licence.
        restricted_corpora: the titles of the corpora whose licence it was.
    """

    def __init__(self, per_group: int, only_shareable: bool) -> None:
        self.per_group = per_group
        self._prefixes = _shareable_prefixes() if only_shareable else None
        self.restricted = self.seen = 0
        self.restricted_corpora: set[str] = set()
        self._groups: dict[tuple[str, int], list[Recipe]] = {}

    def add(self, table: pa.Table) -> None:
        """Choose among the rows of a table of `RECIPE_SCHEMA`, too."""
        self.seen += len(table)
        if self._prefixes is not None:
            allowed, others = _draw_only_on(table, self._prefixes)
            self.restricted_corpora.update(map(title_of, others))
            self.restricted += len(table) - int(allowed.sum())
            table = table.filter(pa.array(allowed))
        for key, rows in group_table(table):
            group = self._groups.setdefault(key, [])
            group += recipes_from_table(rows.slice(0, self.per_group - len(group)))

    def recipes(self) -> list[Recipe]:
        """By split; in each, mixtures of different numbers of sources in turns.

        Raises:
            MetadataUnavailableError: there are none.
        """
        if not self._groups:
            raise MetadataUnavailableError(
                f"none of {self.seen:,} mixtures draws only on corpora whose licence lets others pass their audio on "
                f"({', '.join(corpus.title for corpus in list_corpora() if corpus.may_be_shared)}): they draw on "
                f"{', '.join(sorted(self.restricted_corpora))}, too. If you may show those, say so: "
                "any_licence=True."
            )
        splits = list(dict.fromkeys(split for split, _ in self._groups))
        groups = [[self._groups[key] for key in sorted(self._groups) if key[0] == split] for split in splits]
        turns = (turn for of_split in groups for turn in itertools.zip_longest(*of_split))
        return [recipe for turn in turns for recipe in turn if recipe is not None]


@functools.cache
def _shareable_prefixes() -> list[str]:
    return [corpus.prefix for corpus in list_corpora() if corpus.may_be_shared]


def _draw_only_on(table: pa.Table, prefixes: list[str]) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Of each row, whether all its sources are of corpora with these prefixes; and the prefixes of other corpora."""
    sources = table.column("sources").combine_chunks()
    corpora = prefixes_of(sources.flatten().field("path"))
    others = pc.invert(pc.is_in(corpora, value_set=pa.array(prefixes)))
    parents = pc.list_parent_indices(sources).to_numpy()
    counts = np.bincount(parents[others.to_numpy(zero_copy_only=False)], minlength=len(table))
    return counts == 0, pc.unique(corpora.filter(others)).to_pylist()
