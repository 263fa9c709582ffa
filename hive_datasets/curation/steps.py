"""What a step of curation is.

A step is a small object, configured once, that `datasets` calls with batches of records, columns by name::

    ds = ds.map(Chunk(), batched=True)
    ds = ds.map(SingleEvent(judge), batched=True)
    ds = ds.filter(MinScore("single_event", 0.5), batched=True)

Three kinds: a `Scorer` adds columns and drops nothing; a `Filter` drops by what is in the columns, so that a threshold
can be tried again without the model that scored; `Chunk` makes several records of one. All tell, of what they drop,
the reason.
"""

from __future__ import annotations

import dataclasses
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import RecordError
from ..utils.callers import refuse_in_filter

#: A row, its columns by name.
Record = dict[str, Any]
#: Rows as `datasets` hands them to a batched function.
Batch = Mapping[str, Sequence[Any]]
#: Records that a step reads the audio of at once, so that memory does not grow with the number of records.
CLIPS_AT_ONCE = 64
#: What stands in a reason if a record could not be processed, and not because of what was heard in it.
FAILURES = frozenset({"unreadable", "empty", "no answer", "no tags", "no audio"})


class Reason(NamedTuple):
    """Why a record is dropped.

    Attributes:
        what: in a few words that are the same for all such records: they are counted by it.
        detail: of this one.
    """

    what: str
    detail: str = ""


class Result(NamedTuple):
    """A record after a step.

    Attributes:
        record: with the columns that the step has changed.
        reason: why it is dropped; None if it is kept.
    """

    record: Record
    reason: Reason | None = None


@dataclass(frozen=True)
class Step(ABC):
    """A step of curation; its fields are its configuration."""

    #: Whether a record becomes exactly one.
    one_to_one: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What counts and reasons are listed under."""
        return type(self).__name__

    def columns(self) -> dict[str, pa.DataType]:
        """The columns that it adds or changes."""
        return {}

    def missing(self, there: Collection[str]) -> str | None:
        """A column that it needs, besides audio and labels, and that is not there."""
        return None

    @abstractmethod
    def process(self, records: Sequence[Record]) -> list[Result]:
        """What becomes of each record, in their order."""

    def config(self) -> dict[str, Any]:
        """Its class and parameters, as JSON can hold them; `make_pipeline` makes it again."""
        return {reference_to(type(self)): config_of(self)}

    def provenance(self) -> dict[str, str]:
        """The model that it asks, and its version, if it asks one."""
        return {}


class Scorer(Step):
    """Adds columns to records, and drops none."""

    @abstractmethod
    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns of each record that are added or changed."""

    def process(self, records: Sequence[Record]) -> list[Result]:
        """The records with these columns."""
        return [Result({**record, **added}) for record, added in zip(records, self.score(records), strict=True)]

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """For ``map(..., batched=True)``: the columns that are added or changed."""
        refuse_in_filter(self.name)
        records = records_of(batch)
        starts = range(0, len(records), CLIPS_AT_ONCE)
        added = [row for start in starts for row in self.score(records[start : start + CLIPS_AT_ONCE])]
        return {name: _column([row[name] for row in added], type) for name, type in self.columns().items()}


class Filter(Step):
    """Drops records for what is in their columns."""

    @abstractmethod
    def reasons(self, records: Sequence[Record]) -> list[Reason | None]:
        """Why each is dropped; None if it is kept."""

    def process(self, records: Sequence[Record]) -> list[Result]:
        """The records, as they are."""
        return [Result(record, reason) for record, reason in zip(records, self.reasons(records), strict=True)]

    def __call__(self, batch: Batch) -> list[bool]:
        """For ``filter(..., batched=True)``: which to keep."""
        return [reason is None for reason in self.reasons(records_of(batch))]


@dataclass(frozen=True)
class MinScore(Filter):
    """Keeps the records that a scoring step succeeded with, and gave a score of at least so much.

    Args:
        column: what the step's columns begin with: "single_event" for ``single_event_score`` and
            ``single_event_reason``; or any column of numbers, as "chunk_energy".
        at_least: the lowest score that is kept; None to look at ``_reason`` alone.

    Example:
        >>> keep = MinScore("single_event", 0.5)
        >>> batch = {"single_event_score": [0.9, 0.2, None], "single_event_reason": ["", "", "no answer"]}
        >>> keep(batch), keep.reasons(records_of(batch))[1]
        ([True, False, False], Reason(what='score below 0.5', detail='0.2'))
    """

    column: str
    at_least: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.at_least, float | int | None):
            raise TypeError(f"at_least must be a number, not {self.at_least!r}")

    @property
    def name(self) -> str:
        """With the column, as there may be several."""
        return f"MinScore {self.column}"

    def reasons(self, records: Sequence[Record]) -> list[Reason | None]:
        """Why each is dropped."""
        return [self._reason(record) for record in records]

    def missing(self, there: Collection[str]) -> str | None:
        """The column that it decides by."""
        columns = self._columns()
        return None if any(column in there for column in columns) else columns[0]

    def _columns(self) -> tuple[str, ...]:
        """The columns that it may decide by: the first that is there."""
        if self.at_least is None:
            return (f"{self.column}_reason",)
        return f"{self.column}_score", self.column

    def _reason(self, record: Record) -> Reason | None:
        if needed := self.missing(record):
            raise missing_column(needed, record)
        if record.get(f"{self.column}_reason"):
            return reason_of(record[f"{self.column}_reason"])
        if self.at_least is None:
            return None
        score = next(record[column] for column in self._columns() if column in record)
        if score is None or score != score:
            return Reason("no score")
        return None if score >= self.at_least else Reason(f"score below {self.at_least:g}", f"{score:.6g}")


def missing_column(needed: str, there: Iterable[str]) -> RecordError:
    """The error of a column that is needed and not there."""
    return RecordError(f"there is no column {needed}, only {', '.join(there)}: run the step that adds it before")


def identity_of(backend: Any) -> dict[str, str]:
    """The name and the version of a model, as text."""
    return {"model": str(backend.model), "version": str(backend.version)}


def reason_of(problem: str) -> Reason:
    """A reason as a scoring step writes it: what, a colon, and the detail.

    Example:
        >>> reason_of("unreadable: a.wav: there is no such file")
        Reason(what='unreadable', detail='a.wav: there is no such file')
    """
    what, _, detail = problem.partition(": ")
    return Reason(what, detail)


def records_of(batch: Batch) -> list[Record]:
    """The rows of a batch.

    Raises:
        RecordError: it is no batch.

    Example:
        >>> records_of({"audio": ["a.wav", "b.wav"], "labels": [["Dog"], ["Cat"]]})[1]
        {'audio': 'b.wav', 'labels': ['Cat']}
    """
    columns = {name: batch[name] for name in batch}
    if any(isinstance(values, str | Mapping) or not hasattr(values, "__len__") for values in columns.values()):
        raise RecordError("steps take batches: call map and filter with batched=True")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def batch_of(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Rows as columns; what a row has not is None.

    Example:
        >>> batch_of([{"a": 1}, {"a": 2, "b": 3}])
        {'a': [1, 2], 'b': [None, 3]}
    """
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def labels_of(record: Record) -> list[str]:
    """The labels of a record: its column ``labels``, else ``text_label``, else ``label``; each may be one or a list.

    An empty text is no label.

    Raises:
        RecordError: they are neither.

    Example:
        >>> labels_of({"text_label": "Dog"}), labels_of({"labels": ["Dog", "Bark"]}), labels_of({"audio": "a.wav"})
        (['Dog'], ['Dog', 'Bark'], [])
    """
    named = (record.get(name) for name in ("labels", "text_label", "label"))
    value: Any = next((value for value in named if value is not None), [])
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Sequence | np.ndarray) and all(isinstance(label, str) for label in value):
        return [label for label in value if label.strip()]
    raise RecordError(
        f"labels are {value!r:.60}: they must be a text, or a list of such; `read_records` makes texts of class numbers"
    )


def config_of(configured: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON can hold them; of those that are such themselves, ``{class: fields}``.

    Raises:
        RecordError: a field is neither.
    """
    return {field.name: _plain(getattr(configured, field.name)) for field in dataclasses.fields(configured)}


def reference_to(kind: type) -> str:
    """How a configuration names a class: by its name if it is this library's, else as module:name."""
    inside = kind.__module__.startswith(__package__.partition(".")[0] + ".")
    return kind.__name__ if inside else f"{kind.__module__}:{kind.__qualname__}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {reference_to(type(value)): config_of(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        raise RecordError(
            f"{type(value).__name__} cannot be written into a configuration: give a model that is a dataclass"
        ) from None


def _column(values: list[Any], type: pa.DataType) -> Any:
    """Values of a type that does not depend on whether some are missing: `datasets` takes the first batch's for all."""
    if pa.types.is_floating(type):
        return np.array([np.nan if value is None else value for value in values], type.to_pandas_dtype())
    if pa.types.is_string(type):
        return [value or "" for value in values]
    return values
