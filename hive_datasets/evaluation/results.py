"""What an evaluation has found, on disk: parts while it goes on, one table in the end."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EvaluationError, OutputError, describe
from ..utils.files import remove_leftovers, written_aside
from .metrics import METRICS

TABLE_NAME, SUMMARY_NAME = "targets.parquet", "summary.json"
#: What is being evaluated, and what is scored so far.
_RUN_NAME, _PARTS_NAME = "run.json", "parts"
#: What a new evaluation removes of one that gives way.
_OWN_NAMES = (TABLE_NAME, SUMMARY_NAME, _PARTS_NAME, "examples", "index.html")
#: A column of parts.
_POSITION = "position"

#: Columns of the table, before and after those of metrics.
_FACTS = (
    pa.field("mix_id", pa.string()),
    pa.field("split", pa.string()),
    pa.field("label", pa.string()),
    pa.field("query", pa.string()),
    pa.field("source_ids", pa.list_(pa.string())),
    pa.field("corpus", pa.string()),
    pa.field("num_sources", pa.int32()),
    pa.field("start_second", pa.float64()),
    pa.field("snr_db", pa.float64()),
)
_ENDS = (pa.field("seconds", pa.float64()), pa.field("error", pa.string()))


def columns_of(metrics: Sequence[str]) -> list[str]:
    """The columns of metrics: each, and its improvement over the mixture if it has one.

    Example:
        >>> columns_of(["sdr", "leakage"])
        ['sdr', 'sdr_improvement', 'leakage']
    """
    return [
        column
        for name in metrics
        for column in ([name, f"{name}_improvement"] if name in METRICS and METRICS[name].improves else [name])
    ]


def make_schema(columns: Sequence[str]) -> pa.Schema:
    """Of the table, with these columns of scores."""
    return pa.schema([*_FACTS, *(pa.field(name, pa.float64()) for name in columns), *_ENDS])


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation has found.

    Attributes:
        folder: where it lies.
        table: a row a target: ``mix_id``, ``split``, ``label``, ``query``, ``source_ids``, ``corpus``, ``num_sources``,
            ``start_second``; ``snr_db``, the level of the target against the rest of its mixture in dB; each metric,
            and its improvement; ``seconds`` that the separator took; ``error``, why there is no score, else null.
        summary: what it comes to, as `summary.json` has it.
        num_before: how many of the rows with a score an earlier run has left.
    """

    folder: Path
    table: pa.Table
    summary: Mapping[str, Any]
    num_before: int = 0

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Evaluation:
        """Read what `evaluate_separator` has written.

        Raises:
            EvaluationError: it is not there, or not finished.
        """
        folder = Path(folder)
        try:
            summary = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
            if not {"separator", "metrics", "data_hash"} <= summary.keys():
                raise EvaluationError(f"{folder}: {SUMMARY_NAME} is of something else than an evaluation")
            return cls(folder, pq.read_table(folder / TABLE_NAME), summary)
        except FileNotFoundError:
            is_begun = (folder / _RUN_NAME).exists()
            what = "is not finished: run it again to go on" if is_begun else "is none: evaluate into it first"
            raise EvaluationError(f"{folder}: the evaluation there {what}") from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise EvaluationError(f"{folder}: the evaluation there cannot be read: {describe(error)}") from None


class ResultsFolder:
    """The folder of an evaluation that is under way.

    Rows are kept in parts as they come, each with its position among all targets, and become one table in the end. What
    has a score is not asked for again; what has none, since it failed, is.

    Args:
        folder: where to.
        identity: what is evaluated, and how: what must be the same to go on.
        schema: of the rows.
        num_targets: how many rows there will be.
        overwrite: whether what is there of another evaluation, or a finished one, gives way.

    Raises:
        OutputError: another evaluation is there, or files of something else.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], schema: pa.Schema, num_targets: int, overwrite: bool = False
    ) -> None:
        self.folder, self.schema, self.num_targets = folder, schema, num_targets
        self._parts = folder / _PARTS_NAME
        identity = json.loads(json.dumps(identity))  # as it is read again
        before = self._read_identity()
        remove_leftovers(folder, is_alone=True)
        if before is None:
            strange = [name for name in _OWN_NAMES if (folder / name).exists()]
            if strange:
                raise OutputError(f"{folder} has {strange[0]}, of something else: choose another folder")
        elif before != identity and not overwrite:
            before, identity = ({**each, **each.get("options", {}), "options": None} for each in (before, identity))
            differing = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
            raise OutputError(
                f"{folder} has another evaluation: there {_tell(before, differing)}; now {_tell(identity, differing)}. "
                "Choose another folder, or overwrite=True"
            )
        if before is None or (overwrite and (before != identity or (folder / TABLE_NAME).exists())):
            self._begin(identity)
        self._parts.mkdir(exist_ok=True)
        remove_leftovers(self._parts, is_alone=True)
        #: Which targets have a score.
        self.is_scored = np.zeros(num_targets, bool)
        for table in self._tables():
            positions = table.column(_POSITION).to_numpy()
            self.is_scored[positions[table.column("error").is_null().to_numpy()]] = True
        #: How many have one of an earlier run.
        self.num_before = int(self.is_scored.sum())

    def append(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Keep rows, by their positions, whatever happens next."""
        if not rows:
            return
        schema = self.schema.append(pa.field(_POSITION, pa.int64()))
        table = pa.Table.from_pylist([{**row, _POSITION: position} for position, row in rows.items()], schema)
        with written_aside(self._parts / f"{uuid.uuid4().hex}.parquet", is_durable=True) as aside:
            pq.write_table(table, aside)

    def finish(self) -> pa.Table:
        """Make one table of the parts, and of the table of an earlier run.

        Raises:
            EvaluationError: a target has no row.
        """
        empty = self.schema.append(pa.field(_POSITION, pa.int64())).empty_table()
        table = pa.concat_tables([empty, *self._tables()]).combine_chunks()
        positions = table.column(_POSITION).to_numpy()
        order = np.lexsort([table.column("error").is_valid().to_numpy(), positions])  # rows with a score first
        found, first = np.unique(positions[order], return_index=True)
        if len(found) != self.num_targets:
            lacking = self.num_targets - len(found)
            raise EvaluationError(f"{self.folder}: {lacking:,} targets have no row: run it again")
        table = table.take(pa.array(order[first])).drop_columns([_POSITION])
        with written_aside(self.folder / TABLE_NAME, is_durable=True) as aside:
            pq.write_table(table, aside)
        shutil.rmtree(self._parts)
        return table

    def _begin(self, identity: Mapping[str, Any]) -> None:
        for name in _OWN_NAMES:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        with written_aside(self.folder / _RUN_NAME, is_durable=True) as aside:
            aside.write_text(json.dumps(identity, indent=2), encoding="utf-8")

    def _read_identity(self) -> dict[str, Any] | None:
        file = self.folder / _RUN_NAME
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise OutputError(f"{file} is damaged, or of something else: remove it, or choose another folder") from None
        return found

    def _tables(self) -> Iterator[pa.Table]:
        """What there is: the table, if it was finished before, and parts; such as cannot be read are removed."""
        file = self.folder / TABLE_NAME
        files = [*([file] if file.exists() else []), *sorted(self._parts.glob("*.parquet"))]
        for each in files:
            try:
                table = pq.read_table(each)
            except (OSError, pa.ArrowException):
                each.unlink()
                continue
            if each == file:
                table = table.append_column(_POSITION, pa.array(range(len(table)), pa.int64()))
            yield table


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write what an evaluation comes to beside its table."""
    with written_aside(folder / SUMMARY_NAME) as aside:
        aside.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _tell(identity: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {json.dumps(identity.get(name))}" for name in names)
