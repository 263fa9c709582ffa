"""Checksums of Arrow tables that are mapped into memory, so that no flipped bit is taken for what it says."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import xxhash


def checksum_of(table: pa.Table, metadata: dict[str, Any]) -> str:
    """A hash of every value of a table of numbers and large binaries, and of all that is said of it.

    Args:
        table: without nulls, each column in one chunk.
        metadata: what JSON can hold.

    Example:
        >>> checksum_of(pa.table({"a": [1, 2]}), {}) == checksum_of(pa.table({"a": [1, 3]}), {})
        False
    """
    digest = xxhash.xxh3_128(json.dumps(metadata, sort_keys=True).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(name.encode())
        for chunk in column.chunks:
            _, *buffers = chunk.buffers()
            size = len(chunk) * column.type.bit_width // 8 if len(buffers) == 1 else 8 * (len(chunk) + 1)
            digest.update(memoryview(buffers[0])[:size] if buffers[0] is not None else b"")
            if len(buffers) > 1 and buffers[1] is not None and len(chunk):
                end = int.from_bytes(memoryview(buffers[0])[size - 8 : size], "little")
                digest.update(memoryview(buffers[1])[:end])
    return digest.hexdigest()
