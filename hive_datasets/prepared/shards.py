"""Shards: Arrow files of prepared clips, a record batch a clip, not compressed, so that they can be mapped."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..errors import PreparedSourcesError
from .samples import SampleType, Signal, Stored, checksums

#: Of shards and index; another number for every change of them, or of what the samples are.
LAYOUT = 1
METADATA_KEY = b"hive_datasets"
_ARRAYS = ("steps", "errors", "checksums", "samples")


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip to write.

    Attributes:
        path, chunk_start_second, chunk_end_second: its chunk.
        start: the sample of the resampled chunk that it begins with.
        chunk_samples: samples that the whole chunk has.
        source_size, source_version: bytes of the file that it was made of, and a number that changes with them.
        largest_error: the largest of `errors`.
        samples, steps, errors: see `hive_datasets.prepared.samples`.
    """

    path: str
    chunk_start_second: float
    chunk_end_second: float
    start: int
    chunk_samples: int
    source_size: int
    source_version: int
    largest_error: float
    samples: Stored
    steps: Signal
    errors: Signal


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard, opened.

    Attributes:
        file: its name.
        size: in bytes.
        sample_type: of its samples.
        clips: a row a clip: the fields of `PreparedClip` except its arrays; `num_samples` and `num_steps`; and for
            each array, as `{name}_offset`, the byte of the file that it begins with.
    """

    file: str
    size: int
    sample_type: SampleType
    clips: pa.Table


def write_shard(
    clips: Iterable[PreparedClip], file: Path, sampling_rate: int, asked_type: SampleType, sample_type: SampleType
) -> int:
    """Write clips as a shard.

    Args:
        clips: the clips, whose samples are of `sample_type`.
        file: what to write.
        sampling_rate: rate in Hz of the samples.
        asked_type: of the samples of all shards, as far as it is precise enough.
        sample_type: of the samples of this one.

    Returns:
        how many there were.
    """
    metadata = {"layout": LAYOUT, "sampling_rate": sampling_rate, "sample_type": asked_type}
    schema = _schema(sample_type).with_metadata({METADATA_KEY: json.dumps(metadata)})
    count = 0
    with pa.OSFile(os.fspath(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for clip in clips:
            fields = [pa.array([getattr(clip, field.name)], field.type) for field in _FIELDS]
            seed = seed_of(*(getattr(clip, field.name) for field in _FIELDS))
            sums = checksums(clip.samples, clip.steps, clip.errors, seed)
            arrays = map(_as_list, (clip.steps, clip.errors, sums, clip.samples))
            writer.write_batch(pa.record_batch([*fields, *arrays], schema=schema))
            count += 1
    return count


def read_shard(file: Path, sampling_rate: int, asked_type: SampleType) -> Shard:
    """What a shard holds, without reading its samples.

    Raises:
        PreparedSourcesError: it was made for something else.
        DamagedShardError: it is cut short, damaged, or no shard.
    """
    try:
        return _read_shard(file, sampling_rate, asked_type)
    except PreparedSourcesError:
        raise
    except Exception as error:  # a damaged file leads to errors of any kind
        raise DamagedShardError(f"{file} is damaged: {type(error).__name__}: {error}") from None


def seed_of(
    path: str,
    chunk_start_second: float,
    chunk_end_second: float,
    start: int,
    chunk_samples: int,
    source_size: int,
    source_version: int,
    largest_error: float,
) -> int:
    """A number for what a clip is; part of its checksums."""
    counts = (start, chunk_samples, source_size, source_version)
    numbers = struct.pack("<dddqqqq", chunk_start_second, chunk_end_second, largest_error, *counts)
    return xxhash.xxh3_64_intdigest(numbers + path.encode())


class DamagedShardError(PreparedSourcesError):
    """A file is not the whole shard that it was."""


def _read_shard(file: Path, sampling_rate: int, asked_type: SampleType) -> Shard:
    with pa.memory_map(os.fspath(file)) as source:
        base = source.read_buffer().address
        reader = pa.ipc.open_file(source)
        metadata = json.loads((reader.schema.metadata or {}).get(METADATA_KEY, b"{}"))
        wanted = {"layout": LAYOUT, "sampling_rate": sampling_rate, "sample_type": asked_type}
        if metadata != wanted:
            found = f"samples of type {metadata.get('sample_type')} at {metadata.get('sampling_rate')} Hz"
            message = f"{file} holds {found} (layout {metadata.get('layout')}), not {asked_type} at {sampling_rate} Hz"
            raise PreparedSourcesError(f"{message} (layout {LAYOUT}): prepare into another folder")
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        table = pa.Table.from_batches(batches, reader.schema)
        clips = table.select([field.name for field in _FIELDS]).combine_chunks()
        for name in ("samples", "steps"):
            clips = clips.append_column(f"num_{name}", pc.list_value_length(table.column(name)).cast(pa.int64()))
        for name in _ARRAYS:
            offsets = [_find_values(batch.column(name), base) for batch in batches]
            clips = clips.append_column(f"{name}_offset", pa.array(offsets, pa.int64()))
        sample_type = {type_: name for name, type_ in _TYPES.items()}[reader.schema.field("samples").type.value_type]
        return Shard(file.name, source.size(), sample_type, clips.combine_chunks())


_FIELDS = [
    pa.field("path", pa.string()),
    pa.field("chunk_start_second", pa.float64()),
    pa.field("chunk_end_second", pa.float64()),
    pa.field("start", pa.int64()),
    pa.field("chunk_samples", pa.int64()),
    pa.field("source_size", pa.int64()),
    pa.field("source_version", pa.int64()),
    pa.field("largest_error", pa.float64()),
]
_TYPES: dict[SampleType, pa.DataType] = {"int16": pa.int16(), "float16": pa.float16(), "float32": pa.float32()}


def _schema(sample_type: SampleType) -> pa.Schema:
    types = dict(zip(_ARRAYS, (pa.float32(), pa.float32(), pa.uint64(), _TYPES[sample_type]), strict=True))
    return pa.schema([*_FIELDS, *(pa.field(name, pa.list_(pa.field("item", type_))) for name, type_ in types.items())])


def _as_list(values: Any) -> pa.ListArray:
    return pa.ListArray.from_arrays(np.array([0, len(values)], np.int32), pa.array(values))


def _find_values(lists: pa.ListArray, base: int) -> int:
    """The byte after the address `base` with which the values of one list begin; 0 if it is empty."""
    values = lists.values
    return int(values.buffers()[1].address) - base if len(values) else 0
