"""An evaluation, or two beside each other, as a page that any browser opens from the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..utils.files import written_aside
from .aggregation import Scores
from .comparison import Comparison
from .examples import FOLDER_NAME, KEY, SIGNALS, copy_signals, read_examples
from .metrics import LESS_IS_BETTER
from .report import AGGREGATIONS, KINDS, title_of
from .results import Evaluation

PAGE_NAME = "index.html"
_COMPARISON_NAME = "comparison.json"
#: Bars of a distribution.
_BINS = 30
#: What of a summary the page shows.
_SHOWN = ("separator", "asked", "scored", "failed", "silent", "mixtures", "metrics", "by", "data_hash", "versions")


def write_page(evaluation: Evaluation) -> Path:
    """Write the page of an evaluation into its folder, over the examples that are there; returns its path.

    Raises:
        OSError: it cannot be written.
    """
    examples = [
        {**_describe(example), "signals": {name: f"{FOLDER_NAME}/{example['file']}.{name}" for name in SIGNALS}}
        for example in read_examples(evaluation.folder)
    ]
    protocol = {"protocol": evaluation.summary["protocol"]} if "protocol" in evaluation.summary else {}
    data = {**_data_of([evaluation]), **protocol, "examples": examples, "is_blind": False}
    return _write(evaluation.folder, data)


def write_comparison_page(comparison: Comparison, folder: Path, is_blind: bool = False) -> Path:
    """Write the page of two runs into a folder, with the examples that both have; returns its path.

    Args:
        comparison: of the runs.
        folder: where to; it needs nothing of the runs' folders then.
        is_blind: whether it hides which is which, and takes votes.

    Raises:
        OutputError: there are examples of something else.
        OSError: it cannot be written.
    """
    runs = (comparison.a, comparison.b)
    if (folder / FOLDER_NAME).exists() and not (folder / _COMPARISON_NAME).exists():
        raise OutputError(f"{folder} has {FOLDER_NAME}, which are of something else: choose another folder")
    told = comparison.to_dict()
    with written_aside(folder / _COMPARISON_NAME) as aside:  # first: by this, what is written next is known again
        aside.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    of_a, of_b = ({tuple(each[name] for name in KEY): each for each in read_examples(run.folder)} for run in runs)
    examples = []
    with written_aside(folder / FOLDER_NAME, replaces=True) as aside:
        aside.mkdir(parents=True)
        for number, key in enumerate(key for key in of_a if key in of_b):
            name, gain_db = f"{number:03d}", min(of_a[key]["gain_db"], of_b[key]["gain_db"])  # or the louder would win
            files = {each: f"{name}.{each}" for each in ("mixture", "target", "a", "b")}
            shared = {each: files[each] for each in ("mixture", "target")}
            copy_signals(of_a[key], comparison.a.folder, aside, {**shared, "estimate": files["a"]}, gain_db)
            copy_signals(of_b[key], comparison.b.folder, aside, {"estimate": files["b"]}, gain_db)
            scores = [_describe(each)["scores"] for each in (of_a[key], of_b[key])]
            signals = {each: f"{FOLDER_NAME}/{file}" for each, file in files.items()}
            about = {"why": "", "gain_db": gain_db, "scores_of": scores, "signals": signals}
            examples.append({**_describe(of_a[key]), **about})
    differences = {"differences": told["differences"], "compared": told["compared"]}
    return _write(folder, {**_data_of(runs), **differences, "examples": examples, "is_blind": is_blind})


def _data_of(runs: Sequence[Evaluation]) -> dict[str, Any]:
    columns = [name for name in runs[0].summary["metrics"] if all(name in run.summary["metrics"] for run in runs)]
    return {
        "runs": [{name: run.summary[name] for name in _SHOWN} for run in runs],
        "columns": {name: title_of(name) for name in columns},
        "aggregations": AGGREGATIONS,
        "kinds": KINDS,
        "less_is_better": sorted(LESS_IS_BETTER),
        "histograms": {name: _count([Scores(run.table).values(name) for run in runs]) for name in columns},
    }


def _count(values: Sequence[Any]) -> dict[str, Any]:
    """How many targets of each run have which score: edges of bars, and counts; the ends' bars have what is beyond."""
    known = [each[~np.isnan(each)] for each in values]
    together = np.concatenate(known)
    if not len(together):
        return {"edges": [], "counts": [[] for _ in values]}
    low, high = np.percentile(together, [1, 99])
    edges = np.linspace(low, max(high, low + 0.1), _BINS + 1)
    counts = [np.histogram(np.clip(each, edges[0], edges[-1]), edges)[0].tolist() for each in known]
    return {"edges": edges.round(2).tolist(), "counts": counts}


def _describe(example: Mapping[str, Any]) -> dict[str, Any]:
    facts = ("mix_id", "split", "label", "query", "corpus", "num_sources", "start_second", "snr_db", "why", "gain_db")
    scores = {
        name: value
        for name, value in example.items()
        if isinstance(value, float) and name not in (*facts, "seconds", "seconds_heard")
    }
    return {**{name: example[name] for name in facts}, "has_pictures": example["has_pictures"], "scores": scores}


def _write(folder: Path, data: Mapping[str, Any]) -> Path:
    page = resources.files("hive_datasets.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    # nothing in it ends the script that it is in
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    with written_aside(folder / PAGE_NAME) as aside:
        aside.write_text(page.replace("{{data}}", text), encoding="utf-8", errors="backslashreplace")
    return folder / PAGE_NAME
