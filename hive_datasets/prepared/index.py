"""The index of prepared clips: an Arrow file of numbers that is mapped into memory and looked up as a hash table.

Rows are sorted by a 128-bit hash of path and chunk; column `first` says where each of as many equal intervals of hashes
begins. Of rows with one hash, those made last come first.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from ..errors import PreparedSourcesError
from ..utils.checksums import checksum_of
from ..utils.files import written_aside
from .samples import PAGE, SampleType
from .shards import LAYOUT, METADATA_KEY, Shard

NAME = "index.arrow"
#: What tells chunks apart.
KEY = ("path", "chunk_start_second", "chunk_end_second")


class Entry(NamedTuple):
    """Where a prepared clip is, and what of its chunk.

    Attributes:
        shard, row: its shard, by number, and its place in that.
        start, num_samples: of the resampled chunk, the first sample that is there, and how many are.
        num_steps: how many steps it has.
        chunk_samples: samples of the whole chunk.
        source_size, source_version: of the file that it was made of.
        largest_error: by how much a sample differs from what was read at most.
        samples_offset, steps_offset, errors_offset, checksums_offset: bytes from the start of the shard.
        page: the number of its first page, counted through all clips.
    """

    shard: int
    row: int
    start: int
    num_samples: int
    num_steps: int
    chunk_samples: int
    source_size: int
    source_version: int
    largest_error: float
    samples_offset: int
    steps_offset: int
    errors_offset: int
    checksums_offset: int
    page: int


class ClipIndex:
    """The clips of prepared sources, by chunk.

    Attributes:
        sampling_rate: rate in Hz of the samples.
        sample_type: how they were asked to be stored.
        shards: name, size in bytes and sample type of each shard.
        num_pages: of all clips.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        """Map an index.

        Raises:
            PreparedSourcesError: there is none, or of another layout.
        """
        try:
            with pa.memory_map(os.fspath(file)) as source:
                table = pa.ipc.open_file(source).read_all()
            metadata = json.loads(table.schema.metadata[METADATA_KEY])
            layout, expected = metadata["layout"], metadata.pop("checksum", None)
            is_whole = expected == checksum_of(table, metadata)
        except Exception as error:  # a damaged file leads to errors of any kind
            message = f"{file} is no index of prepared sources: {type(error).__name__}: {error}"
            raise PreparedSourcesError(f"{message}. Mend it: run hive-datasets prepare again, as before.") from None
        if layout != LAYOUT:
            message = f"{file} has layout {layout}, and this version reads {LAYOUT}"
            raise PreparedSourcesError(f"{message}. Prepare into another folder.")
        if not is_whole:
            raise PreparedSourcesError(f"{file} is damaged. Mend it: run hive-datasets prepare again, as before.")
        self.sampling_rate: int = metadata["sampling_rate"]
        self.sample_type: SampleType = metadata["sample_type"]
        self.shards: list[tuple[str, int, SampleType]] = [tuple(shard) for shard in metadata["shards"]]
        self.num_pages: int = metadata["num_pages"]
        self._size = len(table)
        # memory views of the map: reading a number from one takes a fifth of what numpy takes
        columns = {name: _view(column) for name, column in zip(table.column_names, table.columns, strict=True)}
        self._high, self._low, self._first = columns["high"], columns["low"], columns["first"]
        self._numbers = [columns[name] for name in Entry._fields]
        self._start, self._num_samples, self._chunk_samples = (
            columns[name] for name in ("start", "num_samples", "chunk_samples")
        )

    def __len__(self) -> int:
        return self._size

    def find(self, path: str, chunk_start_second: float, chunk_end_second: float, start: int, stop: int) -> int:
        """The row that has the samples `start` to `stop` of a chunk, as far as it goes; -1 if none has all of them."""
        high, low = hash_key(path, chunk_start_second, chunk_end_second)
        row = self._first[(high >> 32) * self._size >> 32] if self._size else 0
        highs, lows = self._high, self._low
        while row < self._size and highs[row] <= high:
            if highs[row] == high and lows[row] == low:
                wanted = min(stop, self._chunk_samples[row])
                first = self._start[row]
                if start >= wanted or (first <= start and wanted <= first + self._num_samples[row]):
                    return row
            row += 1
        return -1

    def entry(self, row: int) -> Entry:
        """What is known of a row."""
        return Entry._make([numbers[row] for numbers in self._numbers])


def hash_key(path: str, chunk_start_second: float, chunk_end_second: float) -> tuple[int, int]:
    """Two 64-bit hashes of a chunk, together one of 128 bits: among a million, two are alike once in 10**26 indexes."""
    key = struct.pack("<dd", chunk_start_second, chunk_end_second) + path.encode()
    hashed = xxhash.xxh3_128_intdigest(key)
    return hashed >> 64, hashed & 0xFFFFFFFFFFFFFFFF


def write_index(shards: Sequence[Shard], file: Path, sampling_rate: int, sample_type: SampleType) -> None:
    """Write the index of shards; the file appears when it is whole.

    A clip whose file has changed since, as later shards tell, is left out.
    """
    clips = _gather(shards)
    keys = zip(*(clips.column(name).to_pylist() for name in KEY), strict=True)
    hashes = np.array([hash_key(*key) for key in keys], dtype=np.uint64).reshape(-1, 2)
    numbers = {name: clips.column(name).to_numpy() for name in Entry._fields[:-1]}
    order = np.lexsort((-numbers["row"], -numbers["shard"], hashes[:, 1], hashes[:, 0]))
    hashes, numbers = hashes[order], {name: values[order] for name, values in numbers.items()}
    pages = -(-numbers["num_samples"] // PAGE)
    numbers["page"] = np.cumsum(pages) - pages
    buckets = (hashes[:, 0] >> np.uint64(32)) * np.uint64(len(hashes)) >> np.uint64(32)
    first = np.searchsorted(buckets, np.arange(len(hashes), dtype=np.uint64)).astype(np.uint32)
    columns = {"high": hashes[:, 0], "low": hashes[:, 1], "first": first, **numbers}
    metadata: dict[str, Any] = {
        "layout": LAYOUT,
        "sampling_rate": sampling_rate,
        "sample_type": sample_type,
        "shards": [(shard.file, shard.size, shard.sample_type) for shard in shards],
        "num_pages": int(pages.sum()),
    }
    table = pa.table(columns)
    metadata["checksum"] = checksum_of(table, json.loads(json.dumps(metadata)))
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})
    with (
        written_aside(file, is_durable=True) as aside,
        pa.OSFile(os.fspath(aside), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=max(1, len(table)))


def _gather(shards: Sequence[Shard]) -> pa.Table:
    """The clips of all shards, with their places, without those of files that have changed since."""
    tables = [
        shard.clips.append_column("shard", pa.array(np.full(len(shard.clips), number))).append_column(
            "row", pa.array(np.arange(len(shard.clips)))
        )
        for number, shard in enumerate(shards)
    ]
    if not tables:
        return pa.table({name: pa.array([], pa.int64()) for name in (*KEY, *Entry._fields[:-1])})
    clips = pa.concat_tables(tables).combine_chunks()
    files = clips.column("path").combine_chunks().dictionary_encode().indices.to_numpy()
    latest = np.zeros(len(clips), np.int64)
    latest[files] = np.arange(len(clips))  # of those of one file, the last remains
    versions = [clips.column(name).to_numpy() for name in ("source_size", "source_version")]
    is_current = np.logical_and.reduce([version == version[latest[files]] for version in versions])
    return clips.filter(pa.array(is_current))


def _view(column: pa.ChunkedArray) -> memoryview[Any]:
    format_: Any = {pa.uint64(): "Q", pa.int64(): "q", pa.uint32(): "I", pa.float64(): "d"}[column.type]
    if not len(column):
        return memoryview(b"")
    size = len(column) * column.type.bit_width // 8  # a buffer may be said to be longer
    return memoryview(column.chunk(0).buffers()[1]).cast("B")[:size].cast(format_)
