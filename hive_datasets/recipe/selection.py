"""Choosing rows of metadata, without rendering any."""

from __future__ import annotations

import difflib
import functools
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import MetadataUnavailableError, UnknownLabelError
from .parsing import SPLITS
from .schema import RECIPE_SCHEMA
from .tables import contains_label, labels_of

#: What stands for several values.
_COLLECTIONS = (list, tuple, set, frozenset, range)
#: Labels that an error offers, and names that it lists.
_NAMES_OFFERED = _NAMES_SHOWN = 5


@dataclass(frozen=True)
class Selection:
    """Which rows to keep; all if nothing is said.

    Args:
        filters: a pyarrow expression or a list of tuples as `pyarrow.parquet.read_table` takes it, over the columns
            of the metadata except `sources`.
        num_sources: a number of sources, or a list of such.
        labels: a label that at least one source has, or a list of such.
        mix_ids: the mixtures to keep; None for all.

    Raises:
        ValueError: no row could be chosen by `num_sources`, `labels` or `mix_ids`.

    Example:
        >>> Selection(num_sources=[2, 3], labels="Bark").allowed_num_sources
        {2, 3}
    """

    filters: Any = None
    num_sources: int | Collection[int] | None = None
    labels: str | Collection[str] | None = None
    mix_ids: Collection[str] | None = None

    def __post_init__(self) -> None:
        allowed = self.num_sources if isinstance(self.num_sources, _COLLECTIONS) else [self.num_sources]
        is_number = [isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in allowed]
        if self.num_sources is not None and not (is_number and all(is_number)):
            raise ValueError(f"num_sources must be a number of sources, or a list of such, not {self.num_sources!r}")
        labels = [self.labels] if isinstance(self.labels, str) else self.labels
        is_list = isinstance(labels, _COLLECTIONS)
        if labels is not None and not (is_list and labels and all(isinstance(label, str) for label in labels)):
            raise ValueError(f"labels must be a label, or a list of such, not {self.labels!r}")
        ids = self.mix_ids
        if ids is not None and not (isinstance(ids, _COLLECTIONS) and ids and all(isinstance(i, str) for i in ids)):
            raise ValueError(f"mix_ids must be a list of mix_ids, not {self.mix_ids!r}")

    @property
    def is_all(self) -> bool:
        """Whether every row is kept."""
        return all(asked is None for asked in (self.filters, self.num_sources, self.labels, self.mix_ids))

    @property
    def allowed_num_sources(self) -> set[int] | None:
        """The numbers of sources to keep; None for all."""
        if self.num_sources is None:
            return None
        return {self.num_sources} if isinstance(self.num_sources, int) else set(self.num_sources)

    @property
    def allowed_labels(self) -> list[str] | None:
        """The labels of which a mixture must have one; None for all."""
        if self.labels is None:
            return None
        return [self.labels] if isinstance(self.labels, str) else list(self.labels)

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
        if self.mix_ids is not None:
            table = table.filter(pc.is_in(table.column("mix_id"), value_set=pa.array(self.mix_ids, pa.string())))
        if self.allowed_labels is not None:
            table = table.filter(contains_label(table, self.allowed_labels))
        return table


class Seen:
    """What was seen of metadata, to say what it lacks.

    Args:
        selection: what is chosen of it.
        where: what it is called.
        said: by what else it was chosen, for the message.

    Attributes:
        chosen: how many rows were.
        given: how many of them were handed on.
    """

    def __init__(self, selection: Selection, where: object, said: Mapping[str, Any] | None = None) -> None:
        self._selection, self._where = selection, where
        names = ("num_sources", "labels", "filters", "mix_ids")
        self._said = {**(said or {}), **{name: getattr(selection, name) for name in names}}
        self._labels: set[str] = set()
        self._missing_ids = set(selection.mix_ids or ())
        self.chosen = self.given = 0

    def note(self, table: pa.Table) -> None:
        """Look at a table of which nothing was left out yet."""
        if self._selection.labels is not None:
            self._labels.update(labels_in(table))
        if self._missing_ids:
            self._missing_ids.difference_update(table.column("mix_id").to_pylist())

    @property
    def has_all(self) -> bool:
        """Whether nothing of what was asked for is lacking any more."""
        labels = self._selection.allowed_labels or ()
        return self.chosen > 0 and not self._missing_ids and self._labels.issuperset(labels)

    def check(self) -> None:
        """At the end of the metadata: raise an error if something that was asked for is not there.

        Raises:
            UnknownLabelError, MetadataUnavailableError: it is not.
        """
        for label in self._selection.allowed_labels or ():
            if label not in self._labels:
                raise unknown_label(label, self._labels, self._where)
        if self._missing_ids:
            names = sorted(self._missing_ids)
            listed = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
            raise MetadataUnavailableError(
                f"{self._where}: {len(names)} of {len(self._selection.mix_ids or ())} mix_ids are not there: {listed}"
            )
        if not self.chosen:
            said = "".join(_describe(name, value) for name, value in self._said.items() if value is not None)
            raise MetadataUnavailableError(f"{self._where}: there is no mixture{said}")
        if not self.given:
            raise MetadataUnavailableError(
                f"{self._where}: none of {self.chosen:,} mixtures can be rendered here. hive-verify-sources tells why."
            )


def _describe(name: str, value: Any) -> str:
    """By what mixtures were chosen, in words.

    Example:
        >>> _describe("splits", ["trian"]), _describe("num_sources", [2, 7]), _describe("labels", "Bark")
        (" of split trian (did you mean 'train'?)", ' of 2 or 7 sources', ' with label Bark')
    """
    values = list(value) if isinstance(value, _COLLECTIONS) else [value]
    listed = " or ".join(map(str, values))
    if name in ("split", "splits"):
        close = [name for each in values for name in difflib.get_close_matches(str(each), SPLITS, n=1)]
        return f" of split {listed}" + (f" (did you mean {close[0]!r}?)" if close and close[0] not in values else "")
    words = {"num_sources": f" of {listed} sources", "labels": f" with label {listed}"}
    return words.get(name, f" with {name}={value}")


def explain_filters(error: pa.ArrowException) -> ValueError:
    """The error of filters that do not fit the metadata."""
    columns = ", ".join(f"{field.name} ({field.type})" for field in RECIPE_SCHEMA if field.name != "sources")
    return ValueError(f"filters do not fit the metadata, whose columns are {columns}: {str(error).splitlines()[0]}")


def labels_in(table: pa.Table) -> list[str]:
    """The labels of a table of `RECIPE_SCHEMA`, each once."""
    found: list[str] = pc.unique(labels_of(table).flatten()).to_pylist()
    return found


def unknown_label(
    label: str, known: Collection[str], where: object, lack: str = "no mixture has the label"
) -> UnknownLabelError:
    """The error of a label that no mixture has, or `lack`, with the names that it may be a slip of."""
    by_folded = {name.casefold(): name for name in sorted(known)}
    close = difflib.get_close_matches(label.casefold(), by_folded, n=_NAMES_OFFERED, cutoff=0.5)
    inside = [folded for folded in by_folded if label.casefold() in folded and folded not in close]
    nearest = [by_folded[folded] for folded in (close + inside)[:_NAMES_OFFERED]]
    hint = f"Nearest: {', '.join(map(repr, nearest))}." if nearest else f"It has {len(known):,} others, none alike."
    return UnknownLabelError(f"{where}: {lack} {label!r}. {hint}", label=label, nearest=nearest)
