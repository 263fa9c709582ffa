"""Rendering to tars, against the reference algorithm that writes the same tars with libsndfile."""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hive_datasets import Subset, read_recipes, write_mixtures

from .corpus import make_corpus, make_prepared, write_tar

_MIXTURES, _PER_TAR, _WORKERS, _ROUNDS = 1440, 90, 2, 3


def measure_tars(folder: Path) -> None:
    """Both from the call to the end, processes begun and ended; in turns with a plain copy of as many bytes."""
    corpus, out = make_corpus(folder, _MIXTURES), folder / "rendered"
    prepared = make_prepared(folder / f"prepared-{_MIXTURES}", corpus / "sources", corpus / "metadata")
    times: dict[str, list[float]] = {"reference": [], "write_mixtures": [], "the same, prepared": [], "copy": []}
    for _ in range(_ROUNDS):
        # removed in between: what waits to be written to disk would slow down what comes next
        times["reference"].append(_time(_write_reference, corpus, _empty(out) / "reference"))
        times["the same, prepared"].append(_time(_write_ours, corpus, _empty(out) / "prepared", prepared))
        times["write_mixtures"].append(_time(_write_ours, corpus, _empty(out) / "ours", False))
        times["copy"].append(_time(shutil.copytree, out / "ours", out / "copy"))
    size = sum(file.stat().st_size for file in (out / "ours").rglob("*.tar"))
    shutil.rmtree(out)
    print(f"\n{_MIXTURES:,} mixtures, {size / 1e6:,.0f} MB of tars, {_WORKERS} processes, {_ROUNDS} rounds:")
    for name, seconds in times.items():
        ratios = sorted(base / own for base, own in zip(times["reference"], seconds, strict=True))
        median = statistics.median(seconds)
        print(
            f"  {name:18} {_MIXTURES / median:6.0f} / s {size / median / 1e6:7,.0f} MB/s   "
            f"{statistics.median(ratios):6.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _write_ours(corpus: Path, out: Path, prepared: Any) -> None:
    subset = Subset(corpus / "metadata", splits=["train"])
    options: dict[str, Any] = {"dataset_paths": corpus / "sources", "prepared": prepared}
    write_mixtures(subset, out, mixtures_per_shard=_PER_TAR, num_workers=_WORKERS, **options)


def _write_reference(corpus: Path, out: Path) -> None:
    out.mkdir(parents=True)
    rows = [recipe.to_dict() for recipe in read_recipes(corpus / "metadata" / "train")]
    tasks = [
        (out / f"tar_{number:05d}.tar", corpus / "sources", rows[start : start + _PER_TAR])
        for number, start in enumerate(range(0, len(rows), _PER_TAR), start=1)
    ]
    with multiprocessing.get_context("spawn").Pool(_WORKERS) as pool:
        pool.starmap(write_tar, tasks, chunksize=1)


def _time(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
