"""Mixtures as rows of parquet, with sound that plays in the Hub's dataset viewer.

What the viewer needs: audio as bytes in the row, typed `Audio`; small row groups; a page index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Audio, Features, Sequence, Value

from ..sources.corpora import title_of
from .encoding import Encoding
from .samples import Sample

#: A page of the viewer has 100 rows, and reads whole row groups of at most 286 MiB.
MAX_GROUP_ROWS = 100
MAX_GROUP_BYTES = 100_000_000


def mixture_columns(sampling_rate: int | None) -> Features:
    """The columns of mixtures; `sampling_rate` in Hz, None where it varies."""
    return Features(
        {
            "mix_id": Value("string"),
            "mixture": Audio(sampling_rate=sampling_rate),
            "sources": Sequence(Audio(sampling_rate=sampling_rate)),
            "labels": Sequence(Value("string")),
            "num_sources": Value("int32"),
            "snr_db": Sequence(Value("float64")),
            "seconds": Value("float64"),
            "corpora": Sequence(Value("string")),
            "paths": Sequence(Value("string")),
            "recipe": Value("string"),
        }
    )


def mixture_row(sample: Sample, encoding: Encoding) -> dict[str, Any]:
    """A mixture as such a row. Its recipe is JSON, of which the `Mixture` feature makes audio again."""
    recipe = sample.recipe
    audio = [
        {"bytes": data, "path": f"{recipe.mix_id}.{name}.{encoding.format}"} for name, data in sample.audio.items()
    ]
    return {
        "mix_id": recipe.mix_id,
        "mixture": audio[0],
        "sources": audio[1:],
        "labels": recipe.labels,
        "num_sources": recipe.num_sources,
        "snr_db": [source.snr_db for source in recipe.sources],
        "seconds": recipe.target_duration,
        "corpora": list(dict.fromkeys(title_of(source.path) for source in recipe.sources)),
        "paths": [source.path for source in recipe.sources],
        "recipe": recipe.to_json(),
    }


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], features: Features) -> int:
    """Write rows of encoded values to a parquet file that `datasets` reads with these features; returns their bytes."""
    schema = features.arrow_schema
    num_bytes = 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True, write_page_checksum=True) as writer:
        for group in group_rows(rows, MAX_GROUP_ROWS, MAX_GROUP_BYTES):
            table = pa.Table.from_pylist(group, schema=schema)
            num_bytes += table.nbytes
            writer.write_table(table)
    return num_bytes


def group_rows(rows: Iterable[dict[str, Any]], max_rows: int, max_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Rows in groups of at most so many rows, and so many bytes of audio and pictures, unless one row has more.

    Example:
        >>> rows = [{"mixture": b"x" * size} for size in (1, 1, 1, 3, 1)]
        >>> [len(group) for group in group_rows(rows, max_rows=2, max_bytes=2)]
        [2, 1, 1, 1]
    """
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        row_bytes = count_audio_bytes(row)
        if group and (len(group) == max_rows or size + row_bytes > max_bytes):
            yield group
            group, size = [], 0
        group.append(row)
        size += row_bytes
    if group:
        yield group


def count_audio_bytes(value: Any) -> int:
    """The bytes of the audio and pictures in a row.

    Example:
        >>> count_audio_bytes({"mixture": {"bytes": b"123", "path": "a"}, "sources": [{"bytes": b"4", "path": "b"}]})
        4
    """
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(count_audio_bytes, value.values()))
    return sum(map(count_audio_bytes, value)) if isinstance(value, list) else 0
