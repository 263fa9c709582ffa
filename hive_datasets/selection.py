"""Choosing rows of metadata, without rendering any."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .recipe import RECIPE_SCHEMA
from .recipe.tables import contains_label


@dataclass(frozen=True)
class Selection:
    """Which rows to keep; all if nothing is said.

    Args:
        filters: a pyarrow expression or a list of tuples as `pyarrow.parquet.read_table` takes it, over the columns
            of the metadata except `sources`.
        num_sources: a number of sources, or a list of such.
        labels: a label that at least one source has, or a list of such.

    Raises:
        ValueError: no row could be chosen by `num_sources` or `labels`.

    Example:
        >>> Selection(num_sources=[2, 3], labels="Bark").allowed_num_sources
        {2, 3}
    """

    filters: Any = None
    num_sources: int | Collection[int] | None = None
    labels: str | Collection[str] | None = None

    def __post_init__(self) -> None:
        allowed = self.num_sources if isinstance(self.num_sources, (list, tuple, set)) else [self.num_sources]
        is_number = [isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in allowed]
        if self.num_sources is not None and not (is_number and all(is_number)):
            raise ValueError(f"num_sources must be a number of sources, or a list of such, not {self.num_sources!r}")
        labels = [self.labels] if isinstance(self.labels, str) else self.labels
        is_list = isinstance(labels, (list, tuple, set))
        if labels is not None and not (is_list and labels and all(isinstance(label, str) for label in labels)):
            raise ValueError(f"labels must be a label, or a list of such, not {self.labels!r}")

    @property
    def allowed_num_sources(self) -> set[int] | None:
        """The numbers of sources to keep; None for all."""
        if self.num_sources is None:
            return None
        return {self.num_sources} if isinstance(self.num_sources, int) else set(self.num_sources)

    def row_filter(self) -> pc.Expression | None:
        """What `filters` and `num_sources` ask for, over columns with statistics; None for all."""
        terms = []
        if self.filters is not None:
            is_expression = isinstance(self.filters, pc.Expression)
            terms.append(self.filters if is_expression else pq.filters_to_expression(self.filters))
        allowed = self.allowed_num_sources
        if allowed is not None:
            terms.append(pc.field("num_sources").isin(sorted(allowed)))
        return functools.reduce(operator.and_, terms) if terms else None

    def apply(self, table: pa.Table) -> pa.Table:
        """The chosen rows of a table of `RECIPE_SCHEMA`.

        Raises:
            ValueError: `filters` does not fit the metadata.
        """
        row_filter = self.row_filter()
        if row_filter is not None:
            try:
                table = table.filter(row_filter)
            except pa.ArrowException as error:
                raise explain_filters(error) from None
        if self.labels is not None:
            table = table.filter(
                contains_label(table, [self.labels] if isinstance(self.labels, str) else list(self.labels))
            )
        return table


def explain_filters(error: pa.ArrowException) -> ValueError:
    """The error of filters that do not fit the metadata."""
    columns = ", ".join(f"{field.name} ({field.type})" for field in RECIPE_SCHEMA if field.name != "sources")
    return ValueError(f"filters do not fit the metadata, whose columns are {columns}: {str(error).splitlines()[0]}")
