"""Which mixtures of which metadata: what everything that goes through many mixtures is given."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..mixing import Mixer
from ..prepared.store import find_prepared
from ..recipe import Recipe
from ..recipe.metadata_files import read_metadata
from ..recipe.selection import Seen, Selection
from ..recipe.tables import recipes_from_table
from .availability import find_availability


@dataclass(frozen=True)
class Subset:
    """Mixtures of some metadata.

    Args:
        metadata: a file or folder of metadata, or its URL; None for what ``load_dataset("hive")`` reads.
        splits: only mixtures of this, or of these ("val" is "validation").
        num_sources: only mixtures of this many sources, or of one of these numbers.
        labels: only mixtures with this label, or one of these.
        filters: only these mixtures, as ``load_dataset("hive")`` takes it.
        mix_ids: only these mixtures.
        available_only: only mixtures that can be rendered, as ``load_dataset("hive")`` takes it.
        limit: only the first so many of them.

    Raises:
        ValueError: no mixture could be chosen.

    Example:
        >>> import hive_datasets
        >>> subset = Subset(hive_datasets.demo_folder() / "metadata", splits=["train"], num_sources=[2, 3], limit=5)
        >>> [recipe.num_sources for recipe in subset.recipes()]
        [2, 3, 2, 3, 2]
    """

    metadata: str | os.PathLike[str] | None = None
    splits: str | Collection[str] | None = None
    num_sources: int | Collection[int] | None = None
    labels: str | Collection[str] | None = None
    filters: Any = None
    mix_ids: Collection[str] | None = None
    available_only: bool | str | os.PathLike[str] = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and (not isinstance(self.limit, int) or self.limit < 1):
            raise ValueError(f"limit must be a whole number of at least 1, not {self.limit!r}")
        self.selection()

    def selection(self) -> Selection:
        """Which rows of a table are meant."""
        return Selection(self.filters, self.num_sources, self.labels, self.mix_ids)

    def recipes(self, mixer: Mixer | None = None) -> Iterator[Recipe]:
        """The mixtures, as `Recipe`; arguments and errors as of `tables`."""
        for table in self.tables(mixer):
            yield from recipes_from_table(table)

    def tables(self, mixer: Mixer | None = None) -> Iterator[pa.Table]:
        """The mixtures in the order of the metadata, as tables of `RECIPE_SCHEMA`, none of which is empty.

        Args:
            mixer: knows where the sources are, for `available_only`; by default, where the configuration says.

        Raises:
            MetadataUnavailableError, RecipeError: the metadata cannot be read, or has no such mixtures.
            UnknownLabelError: no mixture of these splits has one of the labels.
            SourceRootError: `available_only`, and no roots are configured.
        """
        selection, availability, left = self.selection(), self._availability(mixer), self.limit
        seen = Seen(selection, self.metadata or "the metadata of Hive", {"splits": self.splits})
        for table in read_metadata(self.metadata, [self.splits] if isinstance(self.splits, str) else self.splits):
            seen.note(table)
            table = selection.apply(table)
            seen.chosen += len(table)
            if availability is not None and len(table):
                table = table.filter(pa.array(availability.of(table)))
            table = table.slice(0, left)
            if len(table):
                seen.given += len(table)
                yield table
            if left is not None:
                left -= len(table)
                if left == 0:
                    return
        seen.check()

    def _availability(self, mixer: Mixer | None) -> Any:
        if self.available_only in (None, False):
            return None
        mixer = mixer or Mixer()
        return find_availability(self.available_only, mixer.roots, find_prepared(mixer.prepared), mixer.cutting_rate)


def as_subset(mixtures: Subset | str | os.PathLike[str] | None) -> Subset:
    """A subset as it is; of the path or URL of metadata, all its mixtures."""
    return mixtures if isinstance(mixtures, Subset) else Subset(mixtures)
