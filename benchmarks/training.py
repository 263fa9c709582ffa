"""A table of Hive's size in an elastic order: rows a second, memory, and how soon a resumed order goes on."""

from __future__ import annotations

from pathlib import Path

from .metadata import make_metadata, run_apart

_TABLE = """
import itertools, json, sys, time
import datasets
from hive_datasets import ElasticSampler, RecipeTable, load_dataset
datasets.disable_progress_bars()
metadata, cache, rows = *sys.argv[1:3], int(sys.argv[3])
def own():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
ds = load_dataset("hive", data_dir=metadata, split="train", cache_dir=cache)
def restore(**options):
    sampler = ElasticSampler(ds, rank=1, world_size=4, **options)
    sampler.load_state_dict(state)
    next(iter(sampler))
state = ElasticSampler(ds).state_dict(consumed=4 * len(ds) // 5)
times = []
for _ in range(5):
    start = time.perf_counter()
    restore()
    times.append(time.perf_counter() - start)
table, order = RecipeTable(ds), iter(ElasticSampler(ds))
for _ in table.__getitems__(list(itertools.islice(order, 1000))):
    pass
start = time.perf_counter()
for _ in range(rows // 16):
    table.__getitems__(list(itertools.islice(order, 16)))
rate = rows / (time.perf_counter() - start)
shuffled = own()
start = time.perf_counter()
state = ElasticSampler(ds, balanced=True).state_dict(consumed=4 * len(ds) // 5)
print(json.dumps([rate, sorted(times)[2], shuffled, time.perf_counter() - start, own()]))
"""


def measure_table(folder: Path, corpus: Path, rows: int = 5_000_000, read: int = 200_000) -> None:
    """Rows as recipes, in batches of 16, and a state at four fifths of an epoch."""
    metadata = make_metadata(folder, corpus, rows)
    rate, restored, shuffled, balancing, balanced = run_apart(_TABLE, metadata, folder / "tables", read)
    print(
        f"\nA table of {rows:,} rows in an elastic order: {rate:,.0f} recipes a second; an order restored in "
        f"{restored * 1e3:.0f} ms; memory of its own {shuffled:.0f} MB\nBalanced: {balancing:.1f} s, {balanced:.0f} MB"
    )
