"""Evaluating a separator: render, ask, score, and write down."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import xxhash
from datasets import Dataset

from ..backends.extras import import_extra
from ..dataset import Subset
from ..errors import EvaluationError
from ..mixing import Alignment, Mixer
from ..recipe import Recipe
from ..utils.files import locked
from ..utils.progress import Progress, no_progress
from .estimates import EstimateFolder
from .examples import choose_examples, read_examples, write_examples
from .metrics import METRICS
from .page import write_page
from .protocols import Protocol, find_protocol
from .results import Evaluation, ResultsFolder, columns_of, make_schema, write_summary
from .run import OnError, Run
from .scorers import EstimateScorer
from .separators import Separate, find_separator
from .stems import StemTargets
from .summary import summarize
from .targets import RecipeTargets, Targets

if TYPE_CHECKING:
    from ..training import RecipeTable, SelectTarget

#: What is measured unless other metrics are asked for.
DEFAULT_METRICS = ("sdr", "si_sdr", "sd_sdr", "leakage")


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
        run = Run(targets, separator, list(metrics), scorers, batch_size, num_threads, num_workers, on_error)
        run.saves_to = None if save_estimates is None else Path(save_estimates)
        results = ResultsFolder(folder, identity, make_schema(columns), plan.num_targets, overwrite)
        if results.is_scored.all() and separator.may_have_changed:
            warnings.warn(
                f"{folder}: all of it was there, of an earlier run of {separator.name}. If that has changed, "
                "overwrite=True evaluates anew",
                stacklevel=2,
            )
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


def _identify_scorer(scorer: EstimateScorer) -> str:
    """The same in another process: objects' own words have an address in them."""
    kind = type(scorer)
    if kind.__repr__ is not object.__repr__:
        return repr(scorer)
    return f"{kind.__module__}.{kind.__qualname__} {getattr(scorer, 'version', '')}".strip()
