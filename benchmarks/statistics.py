"""Statistics of a table of the size of Hive's, with as many labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hive_datasets.recipe.schema import HUB_SCHEMA
from hive_datasets.utils.files import written_aside

from .metadata import make_metadata, run_apart

_LABELS = 283
_STATISTICS = """
import json, sys, time
from hive_datasets import compute_statistics
start = time.perf_counter()
found = compute_statistics(sys.argv[1])
print(json.dumps([time.perf_counter() - start, peak(), found.mixtures, len(found.label_sources), len(found.pairs)]))
"""


def measure_statistics(folder: Path, corpus: Path, rows: int = 5_000_000) -> None:
    """Time and memory."""
    seconds, megabytes, mixtures, labels, pairs = run_apart(_STATISTICS, make_labelled(folder, corpus, rows))
    assert mixtures == rows
    print(
        f"\nstatistics of {rows:,} rows, {labels:,.0f} labels, {pairs:,.0f} pairs: {seconds:.0f} s, {megabytes:.0f} MB"
    )


def make_labelled(folder: Path, corpus: Path, rows: int) -> Path:
    """The table of `make_metadata`, with 283 labels, some of them rare."""
    labelled = folder / f"labelled-{rows}"
    if not labelled.is_dir():
        source = pq.ParquetFile(make_metadata(folder, corpus, rows) / "train" / "data.parquet")
        random = np.random.RandomState(0)
        names = pa.array([f"Label {number}" for number in range(_LABELS)])
        with written_aside(labelled) as aside:
            (aside / "train").mkdir(parents=True)
            with pq.ParquetWriter(aside / "train" / "data.parquet", HUB_SCHEMA) as writer:
                for group in range(source.num_row_groups):
                    table = source.read_row_group(group).combine_chunks()
                    sources = table.column("sources").chunk(0)
                    fields = {field.name: sources.field(field.name) for field in sources.type}
                    offsets = fields["label"].offsets
                    chosen = (random.beta(1, 3, offsets[-1].as_py()) * _LABELS).astype(int)
                    fields["label"] = pa.ListArray.from_arrays(offsets, names.take(pa.array(chosen)))
                    column = pa.StructArray.from_arrays(list(fields.values()), fields=list(sources.type))
                    index = table.schema.get_field_index("sources")
                    writer.write_table(table.set_column(index, HUB_SCHEMA.field("sources"), column).cast(HUB_SCHEMA))
    return labelled
