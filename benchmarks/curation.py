"""Curation: what chunking costs beyond decoding, and memory by the number of records."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from hive_datasets.curation import Chunk
from hive_datasets.utils.files import written_aside

from .metadata import run_apart

_RATE = 44100
_ROUNDS = 7
_RUN = """
import json, sys, tempfile
from hive_datasets.curation import Chunk, CurationPipeline, SingleLabel, run_pipeline
pipeline = CurationPipeline([Chunk(window_seconds=0.5, step_seconds=0.25, min_tail_seconds=0.25), SingleLabel()])
result = run_pipeline(pipeline, sys.argv[1], tempfile.mkdtemp())
print(json.dumps([peak(), result.records, result.kept]))
"""


def measure_chunks(folder: Path) -> None:
    """An hour of audio, chunks and their energies, against decoding alone, with the same reads."""
    print(f"\nchunks and energies of 1 h of audio against decoding alone, {_ROUNDS} rounds")
    for kind, channels in (("flac", 1), ("flac", 2), ("wav", 1), ("wav", 2)):
        files = make_hour(folder, kind, channels)
        _time(_decode, files)  # into the cache of the system
        pairs = [(_time(_decode, files), _time(_chunk, files)) for _ in range(_ROUNDS)]
        ratios = sorted(decoding / chunking for decoding, chunking in pairs)
        speed = 3600 / statistics.median(chunking for _, chunking in pairs)
        share = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"  {kind}, {channels} channels: {speed:,.0f} s of audio a second, {share} of the speed of decoding")


def measure_memory(folder: Path, sizes: tuple[int, ...] = (1_000, 100_000)) -> None:
    """What a run takes, by the number of records."""
    print("\na run's memory")
    for records in sizes:
        megabytes, read, kept = run_apart(_RUN, make_records(folder, records))
        assert read == records
        print(f"  {records:,} records, {kept:,.0f} chunks kept: {megabytes:.0f} MB")


def make_hour(folder: Path, kind: str, channels: int) -> list[str]:
    """60 recordings of a minute, 16 bit."""
    hour = folder / f"hour-{kind}-{channels}"
    if not hour.is_dir():
        with written_aside(hour) as aside:
            aside.mkdir(parents=True)
            for number in range(60):
                random = np.random.RandomState(number)
                signal = np.cumsum(random.normal(0, 1, (60 * _RATE, channels)), axis=0)
                signal -= np.convolve(signal[:, 0], np.ones(200) / 200, "same")[:, None]
                soundfile.write(aside / f"{number:02d}.{kind}", 0.3 * signal / np.abs(signal).max(), _RATE)
    return sorted(map(str, hour.iterdir()))


def make_records(folder: Path, count: int) -> Path:
    """So many records of the authors' JSON, over a hundred recordings of a second."""
    records = folder / f"records-{count}"
    if not records.is_dir():
        with written_aside(records) as aside:
            aside.mkdir(parents=True)
            for number in range(100):
                noise = np.random.RandomState(number).normal(0, 0.1, 8000)
                soundfile.write(aside / f"{number}.wav", noise, 8000)
            rows = ({"audio_path": f"{number % 100}.wav", "text_label": "Noise"} for number in range(count))
            (aside / "records.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return records / "records.jsonl"


def _decode(files: list[str]) -> None:
    for name in files:
        with soundfile.SoundFile(name) as file:
            buffer = np.empty((_RATE, file.channels), np.float32)
            while len(file.read(out=buffer)) == _RATE:
                pass


def _chunk(files: list[str]) -> None:
    results = Chunk().process([{"audio": name} for name in files])
    assert len(results) == 60 * 11


def _time(function: Callable[[list[str]], None], files: list[str]) -> float:
    start = time.perf_counter()
    function(files)
    return time.perf_counter() - start
