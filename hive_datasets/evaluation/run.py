"""The way of targets through threads: read, ask, score, write down."""

from __future__ import annotations

import math
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from ..backends.protocols import Clip
from ..errors import EvaluationError, HiveError, SourceError, SourceRootError, describe
from ..utils.threads import map_in_threads
from .batches import Batch
from .estimates import write_estimate
from .metrics import METRICS, measure, sdr
from .results import ResultsFolder
from .scorers import EstimateScorer
from .separators import Separator, check_estimates
from .targets import Item, Signals, Target, Targets

#: What becomes of targets for which there is no estimate.
OnError = Literal["record", "raise"]
#: Rows are written down when there are so many, or after so many seconds.
_PART_ROWS, _PART_SECONDS = 4096, 30.0

Row = dict[str, Any]


@dataclass(frozen=True)
class _Read:
    """An item, where its first target stands among all, and its signals or why there are none."""

    first: int
    item: Item
    signals: Signals | Exception


@dataclass(frozen=True)
class _Asked:
    """A batch, where its targets stand, and what the separator made of it: an estimate each, or why there is none."""

    positions: Sequence[int]
    batch: Batch
    estimates: list[Any]
    seconds: float


@dataclass
class Run:
    """The way of targets through threads: read, ask, score."""

    targets: Targets
    separator: Separator
    metrics: list[str]
    scorers: Sequence[EstimateScorer]
    batch_size: int
    num_threads: int
    num_workers: int
    on_error: OnError
    saves_to: Path | None = None
    has_warned: bool = False
    #: Models that listen need not bear two threads.
    _listening: threading.Lock = field(default_factory=threading.Lock)

    def write(self, results: ResultsFolder, advance: Callable[[int], Any]) -> None:
        """Score what has no score yet, and write it down as it comes."""
        waiting: dict[int, Row] = {}
        failures: list[BaseException] = []
        due = time.monotonic() + _PART_SECONDS

        def ask_all() -> Iterator[_Asked | _Read]:
            try:
                yield from self._ask_all(results.is_scored)
            except BaseException as failure:  # what was asked before is scored and kept, after Ctrl-C, too
                failures.append(failure)

        scored = map_in_threads(self._score, ask_all(), self.num_workers)
        try:
            with closing(scored):  # type: ignore[type-var]
                for rows in scored:
                    waiting |= rows
                    if len(waiting) >= _PART_ROWS or time.monotonic() > due:
                        results.append(waiting)
                        waiting, due = {}, time.monotonic() + _PART_SECONDS
                    advance(len(rows))
        finally:
            results.append(waiting)
        if failures:
            raise failures[0]

    def _ask_all(self, is_scored: npt.NDArray[np.bool_]) -> Iterator[_Asked | _Read]:
        """In this thread, the separator; what could not be read is handed on as it is."""
        read = map_in_threads(self._read, self._remaining(is_scored), self.num_threads)
        with closing(read):  # type: ignore[type-var]
            waiting: list[_Read] = []
            for each in read:
                if waiting and not self._fits(waiting, each):
                    yield from self._ask(waiting)
                    waiting = []
                if isinstance(each.signals, Exception):
                    yield each
                else:
                    waiting.append(each)
            yield from self._ask(waiting)

    def _remaining(self, is_scored: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Item]]:
        first = 0
        for item in self.targets.items():
            following = first + len(item.targets)
            if not is_scored[first:following].all():
                yield first, item
            first = following

    def _read(self, placed: tuple[int, Item]) -> _Read:
        first, item = placed
        try:
            return _Read(first, item, self.targets.read(item))
        except (SourceError, SourceRootError, EvaluationError) as error:
            is_unset = isinstance(error, SourceRootError) and not error.configured
            if self.on_error == "raise" or is_unset:
                raise
            return _Read(first, item, error)

    def _fits(self, waiting: Sequence[_Read], new: _Read) -> bool:
        """Whether an item may be separated with others: it is of their length and rate, and there is room."""
        if isinstance(new.signals, Exception):
            return False
        count = sum(len(each.item.targets) for each in waiting) + len(new.item.targets)
        return count <= self.batch_size and _shape_of(waiting[0]) == _shape_of(new)

    def _ask(self, waiting: Sequence[_Read]) -> Iterator[_Asked]:
        """Some items of one length; of one with more segments than fit, some at a time."""
        targets = [target for each in waiting for target in each.item.targets]
        pairs = [pair for each in waiting for pair in each.signals[1]]  # type: ignore[index]
        positions = [each.first + number for each in waiting for number in range(len(each.item.targets))]
        start = 0
        while start < len(targets):
            stop = _find_end(targets, start, self.batch_size)
            batch = Batch(
                tuple(targets[start:stop]),
                np.stack([mixture for mixture, _ in pairs[start:stop]]),
                np.stack([reference for _, reference in pairs[start:stop]]),
                waiting[0].signals[0],  # type: ignore[index]
            )
            started, estimates = time.perf_counter(), []
            for first in range(0, stop - start, self.batch_size):
                estimates += self.ask(batch.take(first, first + self.batch_size))
            seconds = (time.perf_counter() - started) / (stop - start)
            yield _Asked(positions[start:stop], batch, estimates, seconds)
            start = stop

    def ask(self, batch: Batch) -> list[Any]:
        """The estimates of a batch; if that fails, one by one, so that one target takes no other with it."""
        try:
            estimates: list[Any] = check_estimates(self.separator.ask(batch), batch)
        except Exception as error:  # whatever the code of somebody else raises
            if len(batch.targets) > 1:
                return [each for row in range(len(batch.targets)) for each in self.ask(batch.take(row, row + 1))]
            estimates = [(str(error) if isinstance(error, HiveError) else "") or _locate(error)]
            self._report(batch.targets[0], estimates[0], error)
        for target, estimate in zip(batch.targets, estimates, strict=True):
            if isinstance(estimate, str):
                self._report(target, estimate)
        return list(estimates)

    def _report(self, target: Target, problem: str, error: Exception | None = None) -> None:
        """Raise, or warn of the first."""
        message = f"mixture {target.mix_id}, {target.label!r}: {problem}"
        if self.on_error == "raise":
            raise EvaluationError(message, mix_id=target.mix_id, label=target.label) from error
        if not self.has_warned:
            self.has_warned = True
            warnings.warn(f"{message}. It is recorded as failed, and so will others be", stacklevel=2)

    def _score(self, asked: _Asked | _Read) -> dict[int, Row]:
        """The rows of the targets of a batch, by their positions."""
        if isinstance(asked, _Read):
            problem = str(asked.signals) or describe(cast(Exception, asked.signals))
            rows = [{**_facts_of(target), "error": problem} for target in asked.item.targets]
            return dict(enumerate(rows, asked.first))
        batch = asked.batch
        rows = []
        # one by one: that is three times as fast as all at once, which no cache holds
        for number, (target, estimate) in enumerate(zip(batch.targets, asked.estimates, strict=True)):
            row = _facts_of(target)
            rows.append(row)
            mixture, reference = batch.mixtures[number], batch.references[number]
            row["snr_db"] = _number(sdr(mixture, reference))
            if isinstance(estimate, str):
                row["error"] = estimate
                continue
            found = measure(self.metrics, estimate, reference, mixture, batch.sampling_rate)
            row |= {name: _number(value) for name, value in found.items()}
            row["seconds"] = asked.seconds
            if self.saves_to is not None:
                write_estimate(self.saves_to, target, estimate, batch.sampling_rate)
        self._score_remixes(asked, rows)
        self._score_by_ear(asked, rows)
        return dict(zip(asked.positions, rows, strict=True))

    def _score_remixes(self, asked: _Asked, rows: Sequence[Row]) -> None:
        """Of each mixture all of whose sources have an estimate."""
        names = [name for name in self.metrics if METRICS[name].remix is not None]
        if not names:
            return
        mixtures: dict[Any, list[int]] = {}
        for number, target in enumerate(asked.batch.targets):
            if target.source_ids:
                mixtures.setdefault((target.split, target.mix_id, target.start_second), []).append(number)
        for numbers in mixtures.values():
            estimates = [asked.estimates[number] for number in numbers]
            if any(isinstance(estimate, str) for estimate in estimates):
                continue
            for name in names:
                remix = METRICS[name].remix
                assert remix is not None
                value = _number(remix(np.stack(estimates), asked.batch.mixtures[numbers[0]]))
                for number in numbers:
                    rows[number][name] = value

    def _score_by_ear(self, asked: _Asked, rows: Sequence[Row]) -> None:
        """By models that listen, the whole batch at once."""
        batch = asked.batch
        heard = [number for number, estimate in enumerate(asked.estimates) if not isinstance(estimate, str)]
        if not heard or not self.scorers:
            return
        estimates = [Clip(asked.estimates[number], batch.sampling_rate) for number in heard]
        references = [Clip(batch.references[number], batch.sampling_rate) for number in heard]
        labels = [batch.targets[number].label for number in heard]
        for scorer in self.scorers:
            with self._listening:
                found = scorer.score(estimates, references, labels)
            told = {column: len(values) for column, values in found.items()}
            if told != dict.fromkeys(scorer.columns, len(heard)):
                name = type(scorer).__qualname__
                raise EvaluationError(
                    f"scorer {name} gave {told}: it must give {len(heard)} numbers for each of {list(scorer.columns)}"
                )
            for column, values in found.items():
                for number, value in zip(heard, values, strict=True):
                    rows[number][column] = _number(value)


def _find_end(targets: Sequence[Target], start: int, size: int) -> int:
    """Where a batch ends: after so many targets, but none of a segment apart from the others of it.

    Example:
        >>> targets = [Target("a", "test", label, "", (), "", 2, start) for start in (0.0, 2.0, 4.0) for label in "xy"]
        >>> _find_end(targets, 0, 5), _find_end(targets, 4, 5), _find_end(targets, 0, 1)
        (4, 6, 2)
    """
    end = start
    for stop in range(start + 1, len(targets) + 1):
        is_whole = stop == len(targets) or _segment_of(targets[stop]) != _segment_of(targets[stop - 1])
        if is_whole and (stop - start <= size or end == start):
            end = stop
        if stop - start >= size and end > start:
            break
    return end


def _segment_of(target: Target) -> tuple[str, str, float]:
    return target.split, target.mix_id, target.start_second


def _shape_of(read: _Read) -> tuple[int, int]:
    assert not isinstance(read.signals, Exception)
    rate, pairs = read.signals
    return rate, len(pairs[0][0])


def _locate(error: Exception) -> str:
    """An error of somebody's code, and where that was: the innermost line that is of no installed package."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{describe(error)}{where}"


def _facts_of(target: Target) -> Row:
    """The columns of a row that are known before anything is asked."""
    return {
        "mix_id": target.mix_id,
        "split": target.split,
        "label": target.label,
        "query": target.query,
        "source_ids": list(target.source_ids),
        "corpus": target.corpus,
        "num_sources": target.num_sources,
        "start_second": target.start_second,
    }


def _number(value: Any) -> float | None:
    """As a table has it: NaN is nothing, and so is infinity."""
    return float(value) if math.isfinite(value) else None
