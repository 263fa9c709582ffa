"""Verification at size: 1,000,000 rows that name 200,000 small files, and header checks beside `soundfile.info`."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from hive_datasets.recipe.schema import HUB_SCHEMA, SOURCE_FIELDS
from hive_datasets.utils.files import written_aside

from .metadata import run_apart

_FOLDERS = {"AudioSet/audioset_data/audio/unbal_train": ".flac", "vggsound/wav": ".wav"}
_ROUNDS = 5

_EXISTS = """
import json, os, sys, time
from huggingface_hub import constants
constants.HF_ASSETS_CACHE = sys.argv[3]
from hive_datasets import verify_sources
start = time.perf_counter()
result = verify_sources(sys.argv[1], sys.argv[2])
assert result.is_clean and len(result.usable) == int(sys.argv[4]) and len(result.needs.paths) == int(sys.argv[5])
print(json.dumps([time.perf_counter() - start, peak()]))
"""
_LOOK_UP = """
import json, random, sys, time
from huggingface_hub import constants
constants.HF_ASSETS_CACHE = sys.argv[1]
from hive_datasets.sources.index import Index, Scan, write_index
start, before = time.perf_counter(), peak()
scan = Scan()
for number in range(900_000):
    scan.add(f"audio/unbal_train{number % 7}", f"{number * 2654435761 % 2**40:011x}.flac")
write_index(scan, sys.argv[1] + "/index.arrow")
seconds, memory = time.perf_counter() - start, peak() - before
index = Index(sys.argv[1] + "/index.arrow")
paths = list(index.paths())[::3]
random.Random(0).shuffle(paths)
start = time.perf_counter()
assert all([index.find(path) >= 0 for path in paths])
print(json.dumps([seconds, memory, len(paths) / (time.perf_counter() - start)]))
"""


def measure_index(folder: Path) -> None:
    """Making an index of 900,000 files, and looking a third of them up one by one, in random order."""
    with _empty(folder / "assets") as assets:
        seconds, megabytes, rate = run_apart(_LOOK_UP, assets)
    print(f"\nindex of 900,000 files: {seconds:.1f} s, {megabytes:.0f} MB more memory; {rate:,.0f} look-ups a second")


def measure_exists(folder: Path, rows: int = 1_000_000, files: int = 200_000) -> None:
    """`--check exists`, the first time and again."""
    metadata, sources = make_sources(folder, rows, files)
    with _empty(folder / "assets") as assets:
        for run in ("first", "second"):
            seconds, megabytes = run_apart(_EXISTS, metadata, sources, assets, rows, files)
            print(f"check exists, {rows:,} rows and {files:,} files, {run} run: {seconds:.1f} s, {megabytes:.0f} MB")


def measure_header(folder: Path, rows: int = 40_000, files: int = 20_000) -> None:
    """`--check header` to a bare loop of `soundfile.info`, in turns, on as many threads."""
    from huggingface_hub import constants

    from hive_datasets import verify_sources

    metadata, sources = make_sources(folder, rows, files)
    paths = sorted(map(str, sources.rglob("*.*")))
    jobs = os.cpu_count() or 1
    ratios, rates = [], []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        with ThreadPoolExecutor(jobs) as executor:
            list(executor.map(_inform, [paths[part::jobs] for part in range(jobs)]))
        bare = time.perf_counter() - start
        with _empty(folder / "assets") as assets:
            constants.HF_ASSETS_CACHE = str(assets)
            steps: dict[str, float] = {}
            result = verify_sources(metadata, sources, check="header", num_workers=jobs, progress=_clock(steps))
        assert result.is_clean
        (checked,) = (seconds for step, seconds in steps.items() if step.startswith("checking"))
        ratios.append(bare / checked)
        rates.append(files / checked)
    print(
        f"check header: {statistics.median(rates):,.0f} files a second, {statistics.median(ratios):.2f} x what "
        f"soundfile.info does ({min(ratios):.2f} to {max(ratios):.2f}) on {jobs} threads"
    )


def make_sources(folder: Path, rows: int, files: int) -> tuple[Path, Path]:
    """Metadata of `rows` mixtures of 2 to 5 sources, and the `files` small files that it names; made if not there."""
    target = folder / f"sources-{rows}-{files}"
    if not target.is_dir():
        with written_aside(target) as aside:
            names = _write_files(aside / "sources", files)
            file = aside / "metadata" / "train" / "data.parquet"
            file.parent.mkdir(parents=True)
            with pq.ParquetWriter(file, HUB_SCHEMA) as writer:
                for start in range(0, rows, 100_000):
                    writer.write_table(_make_rows(names, start, min(100_000, rows - start)))
    return target / "metadata", target / "sources"


def _write_files(folder: Path, count: int) -> list[str]:
    names = []
    contents = {}
    for inside, suffix in _FOLDERS.items():
        (folder / inside).mkdir(parents=True)
        soundfile.write(folder / f"any{suffix}", 0.1 * np.random.RandomState(0).randn(441), 44100, subtype="PCM_16")
        contents[suffix] = (folder / f"any{suffix}").read_bytes()
        (folder / f"any{suffix}").unlink()
    folders = list(_FOLDERS.items())
    for number in range(count):
        inside, suffix = folders[number % len(folders)]
        names.append(f"{inside}/{number:011d}{suffix}")
        (folder / names[-1]).write_bytes(contents[suffix])
    return names


def _make_rows(names: list[str], start: int, count: int) -> pa.Table:
    numbers = np.arange(start, start + count)
    lengths = 2 + numbers % 4
    uses = int(lengths.sum())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    # every file in turn, so that all are named
    picked = (start * 7 // 2 + np.arange(uses)) % len(names)
    numbers_of = {"crop_end_second": 0.009, "chunk_end_second": 0.01, "rms_gain": 1.0, "applied_weight": 1.0}
    fields: dict[str, Any] = {
        "source_id": pa.array(["s1"] * uses),
        "path": pa.array(names).take(pa.array(picked)),
        "label": pa.array([f"label {number % 283}" for number in picked.tolist()]),
    }
    for name, _ in SOURCE_FIELDS:
        fields.setdefault(name, pa.array(np.full(uses, numbers_of.get(name, 0.0))))
    lists = [pa.ListArray.from_arrays(offsets, fields[name]) for name, _ in SOURCE_FIELDS]
    columns = {
        "mix_id": pa.array([f"sample_{number:08d}" for number in numbers.tolist()]),
        "split": pa.array(["train"] * count),
        "sample_rate": np.full(count, 44100),
        "target_duration": np.full(count, 0.009),
        "num_sources": lengths,
        "sources": pa.StructArray.from_arrays(lists, fields=list(HUB_SCHEMA.field("sources").type)),
        "global_normalization_factor": np.ones(count),
        "final_max_amplitude": np.full(count, 0.95),
    }
    return pa.table(columns).cast(HUB_SCHEMA)


def _inform(paths: list[str]) -> None:
    for path in paths:
        soundfile.info(path)


def _clock(steps: dict[str, float]) -> Any:
    """Progress that notes how many seconds each step takes."""

    @contextlib.contextmanager
    def progress(step: str, unit: str, total: int | None) -> Iterator[Any]:
        start = time.perf_counter()
        yield lambda done: None
        steps[step] = time.perf_counter() - start

    return progress


@contextlib.contextmanager
def _empty(folder: Path) -> Iterator[Path]:
    """A folder that is empty before and gone after."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)
