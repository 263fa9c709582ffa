"""What an evaluation has found, on disk: parts while it goes on, one table in the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EvaluationError, OutputError, describe
from ..utils.files import remove_leftovers, written_aside
from .metrics import METRICS

TABLE_NAME, SUMMARY_NAME = "targets.parquet", "summary.json"
#: What is being evaluated, and what is scored so far.
_RUN_NAME, _PARTS_NAME = "run.json", "parts"

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
        num_before: how many of the rows an earlier run has left.
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
            return cls(folder, pq.read_table(folder / TABLE_NAME), summary)
        except FileNotFoundError:
            is_begun = (folder / _RUN_NAME).exists()
            what = "is not finished: run it again to go on" if is_begun else "is none: evaluate into it first"
            raise EvaluationError(f"{folder}: the evaluation there {what}") from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise EvaluationError(f"{folder}: the evaluation there cannot be read: {describe(error)}") from None


class ResultsFolder:
    """The folder of an evaluation that is under way.

    Args:
        folder: where to.
        identity: what is evaluated, and how: what must be the same to go on.
        schema: of the rows.
        overwrite: whether what is there of another evaluation gives way.

    Raises:
        OutputError: another evaluation is there.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], schema: pa.Schema, overwrite: bool = False) -> None:
        self.folder, self.schema = folder, schema
        self._parts = folder / _PARTS_NAME
        run = folder / _RUN_NAME
        identity = json.loads(json.dumps(identity))  # as it is read again
        before = json.loads(run.read_text(encoding="utf-8")) if run.exists() else None
        if overwrite:
            before = None
        elif before is not None and before != identity:
            differing = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
            raise OutputError(
                f"{folder} has another evaluation: there {_tell(before, differing)}; now {_tell(identity, differing)}. "
                "Choose another folder, or overwrite=True"
            )
        if before is None:
            for name in (TABLE_NAME, SUMMARY_NAME):
                (folder / name).unlink(missing_ok=True)
            for name in (_PARTS_NAME, "examples"):
                shutil.rmtree(folder / name, ignore_errors=True)
            with written_aside(run) as aside:
                aside.write_text(json.dumps(identity, indent=2), encoding="utf-8")
        remove_leftovers(folder, is_alone=True)
        self.is_finished = (folder / TABLE_NAME).exists()
        if self.is_finished:
            shutil.rmtree(self._parts, ignore_errors=True)  # if a kill has left them
            self.done = pq.read_metadata(folder / TABLE_NAME).num_rows
        else:
            self._parts.mkdir(exist_ok=True)
            remove_leftovers(self._parts, is_alone=True)
            self.done = self._count_rows()
        #: Rows that an earlier run has left.
        self.num_before = self.done

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows, whatever happens next."""
        if not rows:
            return
        with written_aside(self._parts / f"{self.done:012d}.parquet") as aside:
            pq.write_table(pa.Table.from_pylist(list(rows), self.schema), aside)
        self.done += len(rows)

    def finish(self) -> None:
        """Make one table of the parts."""
        with written_aside(self.folder / TABLE_NAME) as aside, pq.ParquetWriter(aside, self.schema) as writer:
            for part in self._files():
                writer.write_table(pq.read_table(part))
        shutil.rmtree(self._parts)
        self.is_finished = True

    def read(self) -> pa.Table:
        """The table, when it is finished."""
        return pq.read_table(self.folder / TABLE_NAME)

    def _files(self) -> list[Path]:
        return sorted(self._parts.glob("*.parquet"))

    def _count_rows(self) -> int:
        """Of the parts that follow each other; others are removed."""
        done = 0
        for part in self._files():
            if int(part.stem) != done:
                part.unlink()
                continue
            done += pq.read_metadata(part).num_rows
        return done


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write what an evaluation comes to beside its table."""
    with written_aside(folder / SUMMARY_NAME) as aside:
        aside.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _tell(identity: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {json.dumps(identity.get(name))}" for name in names)
