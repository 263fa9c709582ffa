"""What a mixture costs in a table of any size, and the memory of a process that renders many: from prepared sources."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

from hive_datasets import prepare_sources

from .metadata import make_metadata, run_apart
from .ways import Corpus

_STREAM = """
import itertools, json, sys, time
from hive_datasets import load_dataset
metadata, sources, prepared, mixtures = *sys.argv[1:4], int(sys.argv[4])
stream = load_dataset(
    "hive", data_dir=metadata, dataset_paths=sources, prepared=prepared, split="train", streaming=True
)
def own():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
rows = itertools.chain.from_iterable(itertools.repeat(stream))
for row in itertools.islice(rows, mixtures // 10):
    row["mixture"]["mix"]
before, start = own(), time.perf_counter()
for row in itertools.islice(rows, mixtures - mixtures // 10):
    row["mixture"]["mix"]
seconds = time.perf_counter() - start
print(json.dumps([seconds / (mixtures - mixtures // 10), before, own()]))
"""


def measure_rows(folder: Path, corpus: Corpus, sizes: tuple[int, ...] = (1_000, 100_000, 5_000_000)) -> None:
    """The time of a mixture, streamed, by the number of rows of the table."""
    print("\nA mixture of a stream, by rows of the table (median of 5 rounds, lowest to highest):")
    tables = [make_metadata(folder, corpus.sources.parent, rows) for rows in sizes]
    times: dict[int, list[float]] = {rows: [] for rows in sizes}
    for _ in range(5):
        for rows, table in zip(sizes, tables, strict=True):
            times[rows].append(run_apart(_STREAM, table, corpus.sources, corpus.prepared, 5_000)[0])
    for rows, seconds in times.items():
        ratios = sorted(a / b for a, b in zip(seconds, times[sizes[0]], strict=True))
        print(
            f"  {rows:9,} rows: {statistics.median(seconds) * 1e6:.0f} us, "
            f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def measure_prepare(folder: Path, corpus: Corpus) -> None:
    """Clips a second, on all cores."""
    target = folder / "prepared-anew"
    rates = []
    for _ in range(3):
        shutil.rmtree(target, ignore_errors=True)
        start = time.perf_counter()
        result = prepare_sources(corpus.metadata, target, dataset_paths=corpus.sources)
        rates.append(result.written / (time.perf_counter() - start))
    shutil.rmtree(target)
    print(f"\nPreparing: {statistics.median(rates):.0f} clips a second ({min(rates):.0f} to {max(rates):.0f})")


def measure_memory(folder: Path, corpus: Corpus, mixtures: int = 100_000) -> None:
    """Memory of its own of a process after a tenth of the mixtures, and after all."""
    metadata = make_metadata(folder, corpus.sources.parent, 5_000_000)
    _, before, after = run_apart(_STREAM, metadata, corpus.sources, corpus.prepared, mixtures)
    print(f"\nMemory after {mixtures // 10:,} mixtures: {before:.1f} MB; after {mixtures:,}: {after:.1f} MB")
