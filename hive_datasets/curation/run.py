"""Running a pipeline into a folder, shard by shard, so that an interrupted run goes on where it was.

::

    FOLDER/config.json        the steps, all parameters and models, and how the records are cut into shards
    FOLDER/kept/00001.parquet     records that all steps kept, with their scores and provenance
    FOLDER/rejects/00001.parquet  those that were dropped: by which step, and why
    FOLDER/counts.json        how many by step and reason

A shard is what became of so many records of the input; both of its files appear when they are whole, and then its
record in a hidden folder, by which the next run knows that they are.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from datasets import Features, Sequence, Value

from .._version import __version__
from ..errors import OutputError, RecordError, describe
from ..utils.files import locked, remove_leftovers, written_aside
from ..utils.progress import Progress, no_progress
from ..utils.workers import map_in_processes
from .pipeline import DROPPED_BY, CurationPipeline, StepCount
from .records import Records, decoding, iterate_records, read_records
from .steps import Record, batch_of

CONFIG_NAME, COUNTS_NAME, KEPT, REJECTS = "config.json", "counts.json", "kept", "rejects"
_STATE = ".hive-datasets"
#: Records that go through all steps together: what a process holds does not grow with a shard.
_RECORDS_AT_ONCE = 32
#: Parameters of models that say how fast they answer, not what.
_SPEED = frozenset({"batch_size", "cache", "concurrency", "device", "max_retries", "num_threads", "timeout"})
#: Rows of a row group: with audio, and without.
_HEAVY_ROWS, _LIGHT_ROWS = 100, 10_000


@dataclass(frozen=True)
class Curation:
    """What a run has made.

    Attributes:
        folder: where.
        records: how many records were read.
        kept: how many there are in ``kept/``.
        counts: what each step did.
        shards: how many shards there are.
        shards_before: how many of them were there already.
    """

    folder: Path
    records: int
    kept: int
    counts: dict[str, StepCount]
    shards: int
    shards_before: int


def run_pipeline(
    pipeline: CurationPipeline,
    records: Records,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    limit: int | None = None,
    records_per_shard: int = 200,
    num_workers: int = 1,
    progress: Progress = no_progress,
) -> Curation:
    """Run a pipeline over records, and write what is kept and what is not, and why, into a folder.

    The records are streamed: memory does not grow with their number. Two runs write the same bytes, interrupted or not,
    with whatever number of workers, if the models answer the same.

    Args:
        pipeline: the steps.
        records: what `read_records` reads.
        folder: new, or empty; or, with `resume`, of an earlier run of the same pipeline over the same records.
        resume: go on where that run has ended.
        limit: only the first so many records.
        records_per_shard: how many are lost at most, a process, when the run is killed.
        num_workers: processes, each of which loads the models; the calling script needs
            ``if __name__ == "__main__":`` then.
        progress: told how far it is.

    Raises:
        ValueError: a number is below 1.
        RecordError: the records are in no known shape.
        OutputError: the folder holds something else, cannot be written, or another process writes there.
        BackendError: a model cannot be loaded, or a server not be reached; finished shards stay.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> from hive_datasets.curation import Chunk, CurationPipeline
        >>> sounds = hive_datasets.demo_folder() / "sources"
        >>> curation = run_pipeline(CurationPipeline([Chunk()]), sounds, tempfile.mkdtemp())
        >>> curation.records, curation.kept, dict(curation.counts["Chunk"].dropped)
        (24, 43, {'energy under 0.0005': 1})
    """
    for name, number in {"limit": limit, "records_per_shard": records_per_shard, "num_workers": num_workers}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, not {number}")
    dataset = read_records(records)
    rows = itertools.islice(iterate_records(dataset), limit)
    blocks = iter(lambda: list(itertools.islice(rows, records_per_shard)), [])
    first = next(blocks, None)
    if first is None:
        raise RecordError("there are no records")
    schema = _schema_of(dataset, first, pipeline)
    target = _Target(Path(folder), pipeline, records_per_shard)
    total = min(filter(None, (getattr(dataset, "num_rows", None), limit)), default=None)
    with target.opened(resume), progress("curating", "records", total) as advance:
        reports: dict[int, ShardReport] = {}
        before = 0

        def todo() -> Iterator[tuple[int, str, list[Record]]]:
            nonlocal before
            for number, block in enumerate(itertools.chain([first], blocks), start=1):
                report = target.find(number, block)
                if report is None:
                    yield number, _hash(block), block
                else:
                    reports[number] = report
                    before += 1
                    advance(report.records)

        work = _Work(pipeline, target.folder, schema)
        try:
            for report in map_in_processes(work, todo(), num_workers, advance):
                reports[report.number] = report
        except OSError as error:
            if isinstance(error, OutputError) or error.filename is None:
                raise
            raise OutputError(f"{error.filename} cannot be written: {describe(error)}") from None
        target.check_last(len(reports))
        counts = _summed(reports)
        target.write_counts(reports, counts)
    return Curation(
        target.folder,
        sum(report.records for report in reports.values()),
        sum(report.kept for report in reports.values()),
        counts,
        len(reports),
        before,
    )


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard's records.

    Attributes:
        number: of the shard, from 1.
        hash: of the records as they were read.
        records: how many they were.
        kept, rejected: how many there are now of each.
        counts: what each step did, as JSON can hold it.
    """

    number: int
    hash: str
    records: int
    kept: int
    rejected: int
    counts: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Work:
    """Makes a shard, in whatever process."""

    pipeline: CurationPipeline
    folder: Path
    schema: pa.Schema

    def __call__(self, task: tuple[int, str, list[Record]], advance: Callable[[int], Any]) -> ShardReport:
        number, hash, block = task
        _report_file(self.folder, number).unlink(missing_ok=True)  # that of fewer records must not vouch for these
        counts: dict[str, StepCount] = {}
        with self._writer(KEPT, number) as kept, self._writer(REJECTS, number) as rejects:
            for start in range(0, len(block), _RECORDS_AT_ONCE):
                records = block[start : start + _RECORDS_AT_ONCE]
                for record in self.pipeline.iterate(records, counts):
                    (rejects if record[DROPPED_BY] else kept).add(record)
                advance(len(records))
        told = {name: asdict(count) for name, count in counts.items()}
        report = ShardReport(number, hash, len(block), kept.num_rows, rejects.num_rows, told)
        with written_aside(_report_file(self.folder, number), is_durable=True) as aside:
            aside.write_text(json.dumps(asdict(report), ensure_ascii=False), encoding="utf-8")
        return report

    @contextlib.contextmanager
    def _writer(self, kind: str, number: int) -> Iterator[_Writer]:
        is_heavy = not _is_text(self.schema.field("audio").type)
        file = self.folder / kind / f"{number:05d}.parquet"
        with (
            written_aside(file, is_durable=True) as aside,
            pq.ParquetWriter(aside, self.schema, write_page_checksum=True) as parquet,
        ):
            writer = _Writer(parquet, _HEAVY_ROWS if is_heavy else _LIGHT_ROWS, f"shard {number}")
            yield writer
            writer.flush()


class _Writer:
    """Writes records, so many a row group."""

    def __init__(self, parquet: pq.ParquetWriter, rows: int, where: str) -> None:
        self._parquet, self._rows, self._where = parquet, rows, where
        self._waiting: list[Record] = []
        self.num_rows = 0

    def add(self, record: Record) -> None:
        """Write a record, sooner or later."""
        self._waiting.append(record)
        self.num_rows += 1
        if len(self._waiting) == self._rows:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        schema = self._parquet.schema
        beyond = {name for record in self._waiting for name in record} - set(schema.names)
        if beyond:
            raise RecordError(f"{self._where}: the column {min(beyond)!r} was not there in the first records")
        try:
            self._parquet.write_table(pa.Table.from_pylist(self._waiting, schema=schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RecordError(f"{self._where}: {self._fault()}: {error}") from None
        self._waiting = []

    def _fault(self) -> str:
        """Which column does not fit."""
        for field in self._parquet.schema:
            try:
                pa.array([record.get(field.name) for record in self._waiting], field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return f"the column {field.name!r} was of type {field.type} in the first records, and now is not"
        return "a column has changed its type"


class _Target:
    """The folder of a run."""

    def __init__(self, folder: Path, pipeline: CurationPipeline, records_per_shard: int) -> None:
        self.folder = folder.expanduser().resolve()
        self.config = {
            "hive_datasets": __version__,
            "steps": pipeline.config(),
            "models": [step.provenance() for step in pipeline.steps],
            "records_per_shard": records_per_shard,
        }

    @contextlib.contextmanager
    def opened(self, resume: bool) -> Iterator[None]:
        """Write into the folder, with no other process doing so."""
        self._check(resume)
        with locked(self.folder / _STATE / "lock", OutputError, f"writing into {self.folder}"):
            self._begin()
            yield

    def _check(self, resume: bool) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file: choose another name for the folder")
        config = self.folder / CONFIG_NAME
        if not config.exists():
            others = sorted(path.name for path in self.folder.iterdir() if path.name != _STATE)
            if others:
                raise OutputError(f"{self.folder} holds other files ({', '.join(others[:3])}): choose another folder")
            return
        if not any((self.folder / _STATE).glob("*.json")):
            return  # nothing was finished
        if not resume:
            raise OutputError(f"{self.folder} holds a run: resume it (resume=True), or choose another folder")
        try:
            there = json.loads(config.read_text(encoding="utf-8"))
        except ValueError:
            raise OutputError(f"{config} is damaged: choose another folder") from None
        mine = json.loads(json.dumps(self.config))
        for name in ("records_per_shard", "steps", "models"):
            if (before := _without_speed(there.get(name))) != (now := _without_speed(mine[name])):
                raise OutputError(
                    f"{self.folder} was made with {_difference(before, now, name)}: choose another folder"
                )

    def _begin(self) -> None:
        for folder in [self.folder, *filter(Path.is_dir, self.folder.iterdir())]:
            remove_leftovers(folder, is_alone=True)
        with written_aside(self.folder / CONFIG_NAME) as aside:
            aside.write_text(json.dumps(self.config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def find(self, number: int, block: list[Record]) -> ShardReport | None:
        """The report of a shard that is whole; None if it must be made, perhaps as its records have become more.

        Raises:
            OutputError: it was made of other records.
        """
        try:
            report = ShardReport(**json.loads(_report_file(self.folder, number).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        if report.records > len(block) or report.hash != _hash(block[: report.records]):
            raise OutputError(
                f"{self.folder} was made of other records, or of more: shard {number} differs. Choose another folder"
            )
        whole = all((self.folder / kind / f"{number:05d}.parquet").exists() for kind in (KEPT, REJECTS))
        return report if whole and report.records == len(block) else None

    def check_last(self, shards: int) -> None:
        """Make sure that there are no shards of an earlier run beyond the last of this."""
        if _report_file(self.folder, shards + 1).exists():
            raise OutputError(
                f"{self.folder} holds shards of more records than these, from {shards + 1} on: raise the limit, or "
                "choose another folder"
            )

    def write_counts(self, reports: dict[int, ShardReport], counts: dict[str, StepCount]) -> None:
        """Write what became of all records."""
        summary = {
            "records": sum(report.records for report in reports.values()),
            "kept": sum(report.kept for report in reports.values()),
            "steps": {name: asdict(count) for name, count in counts.items()},
        }
        with written_aside(self.folder / COUNTS_NAME) as aside:
            aside.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_speed(config: Any) -> Any:
    """A configuration without what does not change the results, and may be changed between runs."""
    if isinstance(config, dict):
        return {name: _without_speed(value) for name, value in config.items() if name not in _SPEED}
    return [_without_speed(item) for item in config] if isinstance(config, list) else config


def _difference(before: Any, now: Any, name: str) -> str:
    """Where two configurations first differ.

    Example:
        >>> _difference([{"MinScore": {"at_least": 0.5}}], [{"MinScore": {"at_least": 0.6}}], "steps")
        'at_least 0.5, not 0.6 (steps, MinScore)'
        >>> _difference([{"Chunk": {}}], [{"Chunk": {}}, {"SingleLabel": {}}], "steps")
        'steps Chunk, not Chunk, SingleLabel'
    """
    path = []
    while True:
        if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
            path.append(name)
            name = next(name for name in now if before[name] != now[name])
            before, now = before[name], now[name]
        elif isinstance(before, list) and isinstance(now, list) and _names(before) == _names(now):
            before, now = next((one, other) for one, other in zip(before, now, strict=True) if one != other)
        else:
            break
    where = f" ({', '.join(path)})" if path else ""
    return f"{name} {_names(before)}, not {_names(now)}{where}"


def _names(config: Any) -> str:
    """A value of a configuration; of a list of steps, their names."""
    if isinstance(config, list):
        return ", ".join(map(_names, config))
    return ", ".join(config) if isinstance(config, dict) else json.dumps(config)


def _report_file(folder: Path, number: int) -> Path:
    return folder / _STATE / f"{number:05d}.json"


def _summed(reports: Mapping[int, ShardReport]) -> dict[str, StepCount]:
    counts: dict[str, StepCount] = {}
    for _, report in sorted(reports.items()):
        for name, count in report.counts.items():
            counts.setdefault(name, StepCount()).add(StepCount(**count))
    return counts


def _schema_of(dataset: Any, first: list[Record], pipeline: CurationPipeline) -> pa.Schema:
    """The columns of kept records and of rejects, as `datasets` describes them in its files.

    Of a stream that does not tell its columns, those of the first records are taken.
    """
    given = dataset.features
    if given is None:
        table = pa.table(batch_of(first))
        given = Features.from_arrow_schema(table.schema)
    elif "labels" not in given:
        given = Features({**given, "labels": Sequence(Value("string"))})
    features = pipeline.features(given)
    for name, feature in features.items():
        if hasattr(feature, "decode"):
            features[name] = decoding(feature, True)  # for who loads it
    schema: pa.Schema = features.arrow_schema
    return schema


def _is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type))


def _hash(block: list[Record]) -> str:
    """Of records as they are read: of paths, labels and other columns; of bytes, where they are embedded."""
    text = json.dumps(block, sort_keys=True, default=_digest)
    return xxhash.xxh3_128_hexdigest(text.encode())


def _digest(value: Any) -> Any:
    if isinstance(value, bytes):
        return xxhash.xxh3_128_hexdigest(value)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, xxhash.xxh3_128_hexdigest(value.tobytes())]
    return repr(value)
