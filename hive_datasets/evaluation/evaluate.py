"""Evaluating a separator: render, ask, score, and write down."""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import xxhash
from datasets import Dataset

from ..backends.extras import import_extra
from ..backends.protocols import Clip
from ..dataset import Subset
from ..errors import EvaluationError, HiveError, SourceError, SourceRootError, describe
from ..mixing import Alignment, Mixer
from ..recipe import Recipe
from ..utils.files import locked
from ..utils.progress import Progress, no_progress
from ..utils.threads import map_in_threads
from .batches import Batch
from .estimates import EstimateFolder, write_estimate
from .examples import choose_examples, read_examples, write_examples
from .metrics import METRICS, measure, sdr
from .page import write_page
from .protocols import Protocol, find_protocol
from .results import Evaluation, ResultsFolder, columns_of, make_schema, write_summary
from .scorers import EstimateScorer
from .separators import Separate, Separator, check_estimates, find_separator
from .stems import StemTargets
from .summary import summarize
from .targets import Item, RecipeTargets, Signals, Target, Targets

if TYPE_CHECKING:
    from ..training import RecipeTable, SelectTarget

#: What becomes of targets for which there is no estimate.
OnError = Literal["record", "raise"]
#: What is measured unless other metrics are asked for.
DEFAULT_METRICS = ("sdr", "si_sdr", "sd_sdr", "leakage")
#: Rows are written down when there are so many, or after so many seconds.
_PART_ROWS, _PART_SECONDS = 4096, 30.0

Row = dict[str, Any]


def evaluate_separator(
    separate: Separate | str | os.PathLike[str],
    dataset: Dataset | RecipeTable | Sequence[Recipe] | Subset | Targets | str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    metrics: Sequence[str] | None = None,
    scorers: Sequence[EstimateScorer] = (),
    select: SelectTarget | None = None,
    segment_seconds: float | None = None,
    protocol: Protocol | str | None = None,
    sampling_rate: int | None = None,
    dataset_paths: Any = None,
    prepared: Any = None,
    alignment: Alignment = "authors",
    batch_size: int = 8,
    num_threads: int = 2,
    num_workers: int = 2,
    device: str | None = None,
    on_error: OnError = "record",
    save_estimates: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    examples: int = 0,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Ask a separator for every source of every mixture, and score what it gives.

    Threads render mixtures ahead and score what is there, while this one calls the separator. `out` gets
    ``targets.parquet``, a row a target, ``summary.json``, and ``index.html``, a page. What is scored is kept: after an
    interruption, the same call goes on; and it asks again for what has failed. Memory does not grow with the number of
    targets, but for the table.

    Args:
        separate: a callable ``(mixtures, sampling_rate, queries) -> estimates``: float32 of shape (B, T), a rate in Hz
            and B strings, to floats of shape (B, T), of numpy or PyTorch. If it has a `version`, the evaluation of
            another one does not go on. Or what `find_separator` takes for one: the name of a baseline, ``module:name``,
            a folder of files that were rendered elsewhere.
        dataset: a loaded dataset of mixtures, a list of recipes, a `Subset`, the path or URL of metadata; a folder of
            stems, see `StemTargets`; or an object that has what `Targets` has.
        out: the folder to write to.
        metrics: of `METRICS`; by default those that cost little, see `DEFAULT_METRICS`.
        scorers: of models that listen; see `EstimateScorer`.
        select: what is asked; see `RecipeTargets`.
        segment_seconds: in pieces of which length; see `RecipeTargets`.
        protocol: of `PROTOCOLS`, for whatever of that, and of which mixtures of metadata, is not said.
        sampling_rate: rate in Hz; None for that of the metadata.
        dataset_paths: as for `Mixer`, and so are `prepared` and `alignment`.
        prepared: prepared sources.
        alignment: of what has another rate.
        batch_size: targets that the separator is given at once; of one length, and those of a mixture together.
        num_threads: threads that render.
        num_workers: threads that score; numpy and PyTorch let several work at once.
        device: of PyTorch, on which the separator gets tensors; None for arrays of numpy.
        on_error: of a target whose audio cannot be read, or for which the separator raises or gives no estimate:
            "record" it and go on, or "raise".
        save_estimates: a folder to write every estimate to, as `EstimateFolder` reads them.
        overwrite: whether another evaluation in `out`, or a finished one, gives way.
        examples: how many targets are asked for once more and written to listen to; see `choose_examples`.
        name: what tables call the separator.
        progress: told how far it is.

    Raises:
        ValueError: an option is out of range.
        EvaluationError: there is no such separator, or, with ``on_error="raise"``, no estimate.
        OutputError: `out` has another evaluation, or cannot be written.
        BackendError: a metric needs a package that is not installed.
        SourceError, SourceRootError: audio cannot be read, with ``on_error="raise"``.
        SourceUnreachableError: a server does not answer.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> def halve(mixtures, sampling_rate, queries):
        ...     return mixtures / 2
        >>> demo = hive_datasets.load_dataset("hive", "demo", split="train").select(range(4))
        >>> found = evaluate_separator(halve, demo, tempfile.mkdtemp(), sampling_rate=16000)
        >>> found.summary["asked"], found.summary["scored"], round(found.summary["sdr_improvement"], 1)
        (14, 14, 4.4)
        >>> found.table.select(["mix_id", "label"]).slice(0, 2).to_pylist()
        [{'mix_id': 'sample_00000000', 'label': 'Engine'}, {'mix_id': 'sample_00000000', 'label': 'Clock'}]
    """
    for option, value in (("batch_size", batch_size), ("num_threads", num_threads), ("num_workers", num_workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{option} must be at least 1, not {value!r}")
    if not isinstance(examples, int) or examples < 0:
        raise ValueError(f"examples must be a number, not {examples!r}")
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error must be 'record' or 'raise', not {on_error!r}")
    protocol = find_protocol(protocol)
    if protocol is not None:
        metrics = protocol.metrics if metrics is None else metrics
        sampling_rate = protocol.sampling_rate if sampling_rate is None else sampling_rate
        segment_seconds = protocol.segment_seconds if segment_seconds is None else segment_seconds
        dataset = protocol.choose(dataset)
    metrics = DEFAULT_METRICS if metrics is None else metrics
    _check_metrics(metrics)
    columns = [*columns_of(metrics), *(column for scorer in scorers for column in scorer.columns)]
    if len(set(columns)) < len(columns):
        raise ValueError(f"two scores have one name: {', '.join(columns)}")
    if not (metrics or scorers):
        raise ValueError("there is nothing to score by: give metrics, or scorers")
    if save_estimates is not None and segment_seconds is not None:
        raise ValueError("save_estimates is of whole mixtures: leave segment_seconds out")
    separator = find_separator(separate, device, name)
    targets = find_targets(
        dataset,
        select=select,
        segment_seconds=segment_seconds,
        mixer=Mixer(dataset_paths, sampling_rate, prepared=prepared, alignment=alignment),
        templates=("{label}",) if protocol is None else protocol.templates,
    )
    folder = Path(out)
    with locked(folder / ".lock", EvaluationError, f"evaluating into {folder}"):
        plan = _Plan.make(targets, progress)
        identity = {
            "separator": separator.name,
            "version": separator.version,
            "data_hash": plan.data_hash,
            "asked": plan.num_targets,
            "options": targets.describe(),
            "columns": columns,
            "scorers": list(map(_identify_scorer, scorers)),
            "saves_estimates": save_estimates is not None,
        }
        run = _Run(targets, separator, list(metrics), scorers, batch_size, num_threads, num_workers, on_error)
        run.saves_to = None if save_estimates is None else Path(save_estimates)
        results = ResultsFolder(folder, identity, make_schema(columns), plan.num_targets, overwrite)
        if not results.is_scored.all():
            if separator.folder is not None:
                run.has_warned = _find_missing_files(separator.folder, targets, on_error)
            with progress("evaluating", "targets", plan.num_targets) as advance:
                advance(results.num_before)
                run.write(results, advance)
        table = results.finish()
        about: dict[str, Any] = {} if protocol is None else {"protocol": protocol.describe()}
        about |= {each: identity[each] for each in ("separator", "version", "data_hash", "options")}
        summary = summarize(table, columns, about)
        write_summary(folder, summary)
        chosen = choose_examples(table, columns, examples)
        if chosen and (results.num_before < plan.num_targets or len(read_examples(folder)) != len(chosen)):
            write_examples(folder, table, chosen, targets, run.ask, progress)
        found = Evaluation(folder, table, summary, results.num_before)
        write_page(found)
        return found


def find_targets(
    dataset: Any,
    *,
    mixer: Mixer,
    select: SelectTarget | None = None,
    segment_seconds: float | None = None,
    templates: Sequence[str] = ("{label}",),
) -> Targets:
    """What is asked of a separator about a dataset: see `evaluate_separator`; `templates` are of queries."""
    if hasattr(dataset, "items") and hasattr(dataset, "read") and hasattr(dataset, "describe"):
        found: Targets = dataset
        return found
    subset = dataset if isinstance(dataset, Subset) else Subset(dataset) if StemTargets.is_of(dataset) else None
    if subset is not None and StemTargets.is_of(subset.metadata):
        if select is not None and select != replace(type(select)("all"), templates=select.templates):
            raise ValueError("of folders of stems each stem is asked for: select may only have templates")
        return StemTargets.choose(
            subset,
            mixer.sampling_rate,
            templates=templates if select is None else select.templates,
            segment_seconds=segment_seconds,
        )
    if select is None:
        from ..training import SelectTarget  # as in `RecipeTargets`

        select = SelectTarget("all", templates)
    return RecipeTargets(dataset, mixer, select=select, segment_seconds=segment_seconds)


def _check_metrics(metrics: Sequence[str]) -> None:
    if isinstance(metrics, str) or not set(metrics) <= METRICS.keys() or len(set(metrics)) < len(metrics):
        raise ValueError(f"metrics must be some of {', '.join(METRICS)}, not {metrics!r}")
    if any(METRICS[metric].needs == "evaluate" for metric in metrics):  # before all is rendered
        import_extra("torchmetrics.functional.audio", "evaluate")


def _find_missing_files(folder: EstimateFolder, targets: Targets, on_error: OnError) -> bool:
    """Say at once which files a folder lacks, and not one by one; whether it lacks some."""
    missing = folder.find_missing(target for item in targets.items() for target in item.targets)
    if not missing:
        return False
    message = (
        f"{folder.folder} lacks the estimates of {len(missing):,} target{'s' if len(missing) > 1 else ''}: "
        f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
    )
    if on_error == "raise":
        raise EvaluationError(message)
    warnings.warn(f"{message}. They are counted as failed, and all are in the table", stacklevel=4)
    return True


@dataclass(frozen=True)
class _Plan:
    """What is to be done, before anything is."""

    num_targets: int
    data_hash: str

    @classmethod
    def make(cls, targets: Targets, progress: Progress) -> _Plan:
        """Count the targets, and hash what they are of: mixtures, sources, labels; not the words of queries."""
        hashed, count, seen = xxhash.xxh3_128(), 0, set()
        with progress("reading metadata", "mixtures", None) as advance:
            for item in targets.items():
                asked = [(target.label, target.source_ids, target.start_second) for target in item.targets]
                hashed.update(f"{item.identity}\n{asked}\n".encode("utf-8", "surrogatepass"))
                count += len(item.targets)
                for target in item.targets[:1]:
                    name = f"{target.split}/{target.mix_id}"
                    if hash(name) in seen:
                        raise EvaluationError(f"mixture {name} is there twice", mix_id=target.mix_id)
                    seen.add(hash(name))  # of a number each, memory for millions suffices
                advance(1)
        return cls(count, hashed.hexdigest())


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
class _Run:
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
            estimates = [(str(error) if isinstance(error, HiveError) else "") or describe(error)]
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


def _identify_scorer(scorer: EstimateScorer) -> str:
    """The same in another process: objects' own words have an address in them."""
    kind = type(scorer)
    if kind.__repr__ is not object.__repr__:
        return repr(scorer)
    return f"{kind.__module__}.{kind.__qualname__} {getattr(scorer, 'version', '')}".strip()


def _shape_of(read: _Read) -> tuple[int, int]:
    assert not isinstance(read.signals, Exception)
    rate, pairs = read.signals
    return rate, len(pairs[0][0])


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
