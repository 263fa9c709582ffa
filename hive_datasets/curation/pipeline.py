"""Steps of curation, one after the other, with a reason for every record that is dropped."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
from datasets import Audio, Dataset, Features, IterableDataset

from ..errors import HiveError, RecordError
from ..utils.callers import refuse_in_filter
from .clips import END, ORIGINAL_END, ORIGINAL_PATH, ORIGINAL_START, REPLACED, START, as_file, is_replaced, name_of
from .labels import LABELS_TYPE
from .records import Records, read_records
from .steps import (
    CLIPS_AT_ONCE,
    FAILURES,
    Batch,
    Reason,
    Record,
    Step,
    batch_of,
    labels_of,
    missing_column,
    reason_of,
    records_of,
)

#: The columns that say by which step a record was dropped, and why; empty if it is kept.
DROPPED_BY, REASON, DETAIL = "dropped_by", "reason", "detail"
#: Where a record is from, and what each step made of its labels, with which model.
PROVENANCE = "provenance"
PROVENANCE_TYPE = pa.struct(
    {
        "file": pa.string(),
        "start_second": pa.float64(),
        "end_second": pa.float64(),
        "steps": pa.list_(
            pa.struct(
                {
                    "step": pa.string(),
                    "labels_before": LABELS_TYPE,
                    "labels_after": LABELS_TYPE,
                    "model": pa.string(),
                    "version": pa.string(),
                }
            )
        ),
    }
)


#: Where a record stands: which of the records, which chunk of it.
Place: TypeAlias = tuple[int, ...]


@dataclass
class StepCount:
    """What a step did.

    Attributes:
        taken: how many records came to it.
        kept: how many left it: of `Chunk`, chunks.
        dropped: how many were dropped, by reason.
    """

    taken: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def add(self, other: StepCount) -> None:
        """Count another's too."""
        self.taken += other.taken
        self.kept += other.kept
        for reason, number in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + number


class Processed(NamedTuple):
    """Records after all steps.

    Attributes:
        records: all, with `DROPPED_BY`, `REASON`, `DETAIL` and `PROVENANCE`; dropped ones as they came to that step.
        counts: by step, in the steps' order.
    """

    records: list[Record]
    counts: dict[str, StepCount]


class Reasoned(NamedTuple):
    """A dataset after curation.

    Attributes:
        kept: the records that all steps kept.
        rejects: those that were dropped, with the columns ``dropped_by``, ``reason`` and ``detail``.
        counts: how many by step and reason; None of a stream, which nobody has read yet.
    """

    kept: Dataset | IterableDataset
    rejects: Dataset | IterableDataset
    counts: dict[tuple[str, str], int] | None


@dataclass(frozen=True)
class CurationPipeline:
    """Steps, one after the other.

    Called with a batch, as by ``map(pipeline, batched=True)``, it drops nothing: dropped records stay, with the columns
    ``dropped_by``, ``reason`` and ``detail``, which are empty for kept ones. `with_reasons` takes them apart.
    `run_pipeline` writes a folder, and goes on where it was interrupted.

    Args:
        steps: `Chunk`, `SingleEvent`, ..., in their order.
        on_error: what becomes of a record that cannot be read or answered about: "reject" leaves it to the steps, of
            which `Chunk` and `MinScore` drop it with a reason; "raise" ends. A model that cannot be loaded, or a server
            that is down, always ends.

    Raises:
        TypeError: one of them is no step.
        ValueError: there are none, or `on_error` is neither.
        RecordError: a record's labels are no text.
        BackendError: a model cannot be loaded, or a server not be reached.

    Example:
        >>> from hive_datasets.curation import Chunk, SingleLabel
        >>> pipeline = CurationPipeline([Chunk(min_energy=0), SingleLabel()])
        >>> import numpy as np
        >>> clip = {"array": np.zeros(16000 * 12), "sampling_rate": 16000}
        >>> processed = pipeline.process([{"audio": clip, "labels": ["Dog"]}, {"audio": "gone.wav", "labels": ["Cat"]}])
        >>> [(record["labels"], record["reason"], record["detail"]) for record in processed.records]
        [(['Dog'], '', ''), (['Dog'], '', ''), (['Cat'], 'unreadable', 'gone.wav: there is no such file')]
    """

    steps: Sequence[Step]
    on_error: Literal["reject", "raise"] = "reject"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise ValueError("a pipeline needs at least one step")
        for step in self.steps:
            if not isinstance(step, Step):
                raise TypeError(f"{step!r} is no step of curation")
        if self.on_error not in ("reject", "raise"):
            raise ValueError(f"on_error must be 'reject' or 'raise', not {self.on_error!r}")

    def config(self) -> list[dict[str, Any]]:
        """Its steps, as JSON can hold them; `make_pipeline` makes it again."""
        return [step.config() for step in self.steps]

    def columns(self) -> dict[str, pa.DataType]:
        """The columns that it adds or changes."""
        added = {name: type for step in self.steps for name, type in step.columns().items()}
        return {"labels": LABELS_TYPE, **added, PROVENANCE: PROVENANCE_TYPE} | dict.fromkeys(
            (DROPPED_BY, REASON, DETAIL), pa.string()
        )

    def process(self, records: Sequence[Record]) -> Processed:
        """All records after all steps."""
        counts: dict[str, StepCount] = {}
        return Processed(list(self.iterate(records, counts)), counts)

    def iterate(self, records: Sequence[Record], counts: dict[str, StepCount]) -> Iterator[Record]:
        """All records after all steps, one by one, so that new audio need not be held; `counts` are counted up."""
        for title in self._titles():
            counts.setdefault(title, StepCount())
        replaces_audio = "audio" in self.columns()
        added = self._added()
        begun = [((number,), _begin(record, added)) for number, record in enumerate(records)]
        for _, record in self._follow(0, begun, counts):
            yield _end(record, replaces_audio)

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        """For ``map(..., batched=True)``: all records, with the columns that tell which are dropped, and why."""
        refuse_in_filter("CurationPipeline")
        names = dict.fromkeys(name for name in [*batch, *self.columns()] if name != "text_label")
        return {name: [] for name in names} | batch_of(
            [{**dict.fromkeys(names), **record} for record in self.process(records_of(batch)).records]
        )

    def with_reasons(self, dataset: Records, num_proc: int | None = None, batch_size: int = 100) -> Reasoned:
        """A dataset's records that are kept, those that are not, and how many of these by step and reason.

        Of a stream, kept and rejects are two streams, each of which runs all steps: `run_pipeline` does so once.

        Args:
            dataset: what `read_records` takes.
            num_proc: processes, of a dataset that is no stream.
            batch_size: records that a step is handed at once.
        """
        dataset = read_records(dataset)
        if isinstance(dataset, IterableDataset):
            marked = dataset.map(self, batched=True, batch_size=batch_size)
            return Reasoned(marked.filter(_is_kept), marked.filter(_is_dropped), None)
        features = self.features(dataset.features)
        if not len(dataset):
            nothing = Dataset.from_dict({name: [] for name in features}, features=features)
            return Reasoned(nothing, nothing, {})
        marked = dataset.map(
            self,
            batched=True,
            batch_size=batch_size,
            features=features,
            num_proc=num_proc,
            remove_columns=[name for name in ("text_label",) if name in dataset.column_names],
        )
        reasons = marked.with_format(None).select_columns([DROPPED_BY, REASON])
        counts = Counter((row[DROPPED_BY], row[REASON]) for row in reasons if row[DROPPED_BY])
        rejects = marked.filter(_is_dropped, input_columns=[DROPPED_BY])
        return Reasoned(marked.filter(_is_kept, input_columns=[DROPPED_BY]), rejects, dict(counts))

    def features(self, given: Features) -> Features:
        """The columns of records that had those of `given`.

        Raises:
            RecordError: there is no column of audio, or one that the pipeline would take the place of; or one that a
                step needs is not there.
        """
        _check_columns(given, self._added())
        if "audio" not in given:
            raise RecordError(f"there is no column audio, only {', '.join(given)}")
        there = {**given, "labels": LABELS_TYPE}
        for step in self.steps:
            if needed := step.missing(there):
                raise missing_column(needed, there)
            there |= step.columns()
        added = Features.from_arrow_schema(pa.schema(list(self.columns().items())))
        features = Features({name: feature for name, feature in given.items() if name != "text_label"} | added)
        if isinstance(features["audio"], dict):  # a file's bytes and its name
            features["audio"] = Audio(decode=False)
        return features

    def _titles(self) -> list[str]:
        """The names of the steps, with a number where there are several of a name."""
        names = [step.name for step in self.steps]
        return [
            name if names.count(name) == 1 else f"{name} ({names[:place].count(name) + 1})"
            for place, name in enumerate(names)
        ]

    def _added(self) -> list[Set[str]]:
        """The columns that only curation has, in groups that are added together."""
        shared = {"audio", "labels", START, END}
        by_step = [step.columns().keys() - shared for step in self.steps]
        groups: list[Set[str]] = [{DROPPED_BY, REASON, DETAIL, PROVENANCE}]
        for added in by_step:
            groups += [added & REPLACED.keys(), added - REPLACED.keys()]
        return groups

    def _follow(
        self, number: int, alive: Sequence[tuple[Place, Record]], counts: dict[str, StepCount]
    ) -> Iterator[tuple[Place, Record]]:
        """What becomes of records from the step of that number on, in order, a few at a time."""
        if len(alive) > CLIPS_AT_ONCE:
            for start in range(0, len(alive), CLIPS_AT_ONCE):
                yield from self._follow(number, alive[start : start + CLIPS_AT_ONCE], counts)
            return
        if number == len(self.steps):
            for place, record in alive:
                yield place, {**record, DROPPED_BY: "", REASON: "", DETAIL: ""}
            return
        step, title = self.steps[number], self._titles()[number]
        count = counts[title]
        count.taken += len(alive)
        kept, dropped = [], []
        for place, record, reason in self._apply(step, alive):
            if self.on_error == "raise":
                _raise_failure(step, record, reason)
            if reason is None:
                kept.append((place, record))
                continue
            count.dropped[reason.what] = count.dropped.get(reason.what, 0) + 1
            dropped.append((place, {**record, DROPPED_BY: title, REASON: reason.what, DETAIL: reason.detail}))
        count.kept += len(kept)
        yield from heapq.merge(dropped, self._follow(number + 1, kept, counts), key=itemgetter(0))

    def _apply(
        self, step: Step, alive: Sequence[tuple[Place, Record]]
    ) -> Iterator[tuple[Place, Record, Reason | None]]:
        if step.one_to_one:
            results = step.process([record for _, record in alive])
            pairs = [(place, before, result) for (place, before), result in zip(alive, results, strict=True)]
        else:
            pairs = [
                ((*place, number), before, result)
                for place, before in alive
                for number, result in enumerate(step.process([before]))
            ]
        model = step.provenance() if alive else {}
        for place, before, (after, reason) in pairs:
            note = {
                "step": step.name,
                "labels_before": labels_of(before),
                "labels_after": labels_of(after),
                "model": model.get("model", ""),
                "version": model.get("version", ""),
            }
            yield place, {**after, PROVENANCE: {"steps": [*before[PROVENANCE]["steps"], note]}}, reason


def _check_columns(names: Collection[str], added: Sequence[Set[str]]) -> None:
    """Make sure that what is added does not take the place of a user's own.

    Raises:
        RecordError: a column has the name of one that is added, and the others are not there, as after an earlier run.
    """
    there = set(names)
    for group in added:
        taken = group & there
        if taken and taken != group:
            raise RecordError(
                f"the columns {', '.join(sorted(taken))} are named as those that curation adds: rename them"
            )


def _begin(record: Mapping[str, Any], added: Sequence[Set[str]]) -> Record:
    """A record with its labels as a list, and its provenance begun, or going on from that of an earlier run."""
    _check_columns(record, added)
    rest = {name: value for name, value in record.items() if name not in ("text_label", "labels")}
    earlier = (record.get(PROVENANCE) or {}).get("steps") or []
    return {**rest, "labels": labels_of(dict(record)), PROVENANCE: {"steps": list(earlier)}}


def _raise_failure(step: Step, record: Record, reason: Reason | None) -> None:
    """Raise an error if a record could not be processed, whether the step drops it or tells so in a column."""
    told = [reason_of(record[name]) for name in step.columns() if name.endswith("_reason") and record.get(name)]
    for each in [*([reason] if reason else []), *told]:
        if each.what in FAILURES:
            raise HiveError(f"{step.name}: {each.what}: {each.detail or name_of(record)}")


def _end(record: Record, replaces_audio: bool) -> Record:
    """A record whose provenance says where it is from; its audio of one type, whether it was replaced or not."""
    start, end = (ORIGINAL_START, ORIGINAL_END) if is_replaced(record) else (START, END)
    origin = {
        "file": str(record[ORIGINAL_PATH]) if is_replaced(record) else name_of(record),
        "start_second": record.get(start),
        "end_second": record.get(end),
    }
    audio = as_file(record.get("audio")) if replaces_audio else record.get("audio")
    return {**record, "audio": audio, PROVENANCE: {**origin, **record[PROVENANCE]}}


def _is_kept(record: Any) -> bool:
    return not (record if isinstance(record, str) else record[DROPPED_BY])


def _is_dropped(record: Any) -> bool:
    return not _is_kept(record)
