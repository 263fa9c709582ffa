"""Big tables: how soon the first mixture comes, and what converting costs, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hive_datasets.recipe import Recipe, read_recipes
from hive_datasets.recipe.schema import HUB_SCHEMA, SOURCE_FIELDS
from hive_datasets.utils.files import written_aside

# the peak of a process' own memory in MB (getrusage would count its parent's)
_PEAK = """
import re
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
"""
_FIRST_EXAMPLE = """
import json, sys, time
import hive_datasets
from datasets import load_dataset
start = time.perf_counter()
stream = load_dataset("hive", data_dir=sys.argv[1], dataset_paths=sys.argv[2], split="train", streaming=True)
next(iter(stream))["mixture"]["mix"]
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak(), stream.num_shards]))
"""
_CONVERT = """
import json, sys, time
from hive_datasets.cli.main import main
start = time.perf_counter()
assert main(["convert", "--quiet", sys.argv[1], "--out", sys.argv[2]]) == 0
print(json.dumps([time.perf_counter() - start, peak()]))
"""
_IMPORT = "import time; start = time.perf_counter(); import {}; print([time.perf_counter() - start])"


def measure_first_example(folder: Path, corpus: Path, rows: int = 5_000_000) -> None:
    """Time from the call to the first mixture, on a table of the size of Hive's."""
    metadata = make_metadata(folder, corpus, rows)
    seconds, megabytes, shards = run_apart(_FIRST_EXAMPLE, metadata, corpus / "sources")
    print(f"\nFirst mixture of {rows:,} rows in {shards} shards: {seconds:.2f} s, process {megabytes:.0f} MB")


def measure_convert(folder: Path, corpus: Path, rows: int = 1_000_000) -> None:
    """Time and memory of converting parquet to JSON and back."""
    metadata = make_metadata(folder, corpus, rows)
    target = folder / "converted"
    shutil.rmtree(target, ignore_errors=True)
    for source, name in ((metadata, "json"), (target / "json", "parquet")):
        seconds, megabytes = run_apart(_CONVERT, source, target / name, "--to", name)
        print(f"convert {rows:,} rows to {name}: {seconds:.0f} s, process {megabytes:.0f} MB")
    shutil.rmtree(target)


def measure_import(rounds: int = 9) -> None:
    """What `import hive_datasets` costs over `import datasets`."""
    times: dict[str, list[float]] = {"datasets": [], "hive_datasets": []}
    for _ in range(rounds):
        for name, seconds in times.items():
            seconds += run_apart(_IMPORT.format(name))
    plain, ours = (statistics.median(times[name]) for name in times)
    print(f"\nimport hive_datasets: {ours - plain:.3f} s more than import datasets ({plain:.2f} s)")


def make_metadata(folder: Path, corpus: Path, rows: int) -> Path:
    """A folder with one parquet file of `rows` mixtures in the Hub's schema, in row groups of 100,000."""
    metadata = folder / f"metadata-{rows}"
    if not metadata.is_dir():
        seed = list(read_recipes(str(corpus / "metadata")))
        with written_aside(metadata) as aside:
            (aside / "train").mkdir(parents=True)
            with pq.ParquetWriter(aside / "train" / "data.parquet", HUB_SCHEMA) as writer:
                for start in range(0, rows, 100_000):
                    writer.write_table(_make_rows(start, min(100_000, rows - start), seed), row_group_size=100_000)
    return metadata


def _make_rows(start: int, count: int, seed: list[Recipe]) -> pa.Table:
    """`count` rows: sources of the corpus' recipes, with numbers of their own so that nothing compresses away."""
    random = np.random.RandomState(start % 2**32)
    pool = [source for recipe in seed for source in recipe.sources]
    lengths = random.randint(2, 6, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    chosen = [pool[i] for i in random.randint(0, len(pool), offsets[-1])]
    ids = [f"s{i + 1}" for length in lengths for i in range(length)]
    fields = {name: [getattr(source, name) for source in chosen] for name, _ in SOURCE_FIELDS} | {"source_id": ids}
    for name in ("rms_gain", "snr_db", "applied_weight"):
        fields[name] = random.uniform(0.1, 5, len(chosen)).tolist()
    return make_table(start, lengths, fields, random.uniform(0.03, 3.6, count))


def make_table(start: int, lengths: Any, fields: dict[str, Any], factors: Any) -> pa.Table:
    """Mixtures in the Hub's schema, numbered from `start`: their lengths, the fields of all sources, and factors."""
    count, offsets = len(lengths), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    sources = pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(offsets, pa.array(fields[name], type_)) for name, type_ in SOURCE_FIELDS],
        fields=list(HUB_SCHEMA.field("sources").type),
    )
    columns = {
        "mix_id": [f"sample_{i:08d}" for i in range(start, start + count)],
        "split": ["train"] * count,
        "sample_rate": [44100] * count,
        "target_duration": [4.0] * count,
        "num_sources": lengths,
        "sources": sources,
        "global_normalization_factor": factors,
        "final_max_amplitude": [0.95] * count,
    }
    return pa.table(columns, schema=HUB_SCHEMA)


def run_apart(code: str, *arguments: object) -> list[float]:
    command = [sys.executable, "-c", _PEAK + code, *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])  # type: ignore[no-any-return]
