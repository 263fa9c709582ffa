"""Structs of Thrift's compact protocol, of which the footer and the headers of parquet are made. Pure parsing.

See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

import struct
from typing import Any

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
#: Structs in structs; a damaged one may go on for ever.
_MAX_DEPTH = 20
#: Of a number of 64 bits, seven a byte.
_MAX_SHIFT = 63


class ThriftError(ValueError):
    """The bytes are no such struct."""


class CutShortError(ThriftError):
    """The bytes end before the struct does."""


def parse_struct(data: bytes) -> tuple[dict[int, Any], int]:
    """A struct as a dict of its fields by their numbers, and how many bytes it has.

    Raises:
        CutShortError: more bytes are needed.
        ThriftError: it is none.

    Example:
        >>> parse_struct(bytes([0x15, 0x0E, 0x18, 0x02, 0x68, 0x69, 0x00]))
        ({1: 7, 2: b'hi'}, 7)
    """
    try:
        return _parse_struct(data, 0, 0)
    except (IndexError, struct.error):
        raise CutShortError("it is cut short") from None


def parse_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > _MAX_SHIFT:
            raise ThriftError("a number is longer than any is")


def _parse_struct(data: bytes, position: int, depth: int) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = data[position]
        position += 1
        if not head:
            return fields, position
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, position = _parse_zigzag(data, position)
        if kind in (_TRUE, _FALSE):  # which is in the head itself
            fields[number] = kind == _TRUE
        else:
            fields[number], position = _parse_value(data, position, kind, depth)


def _parse_value(data: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise ThriftError("structs are in structs without an end")
    if kind in _INTEGERS:
        return _parse_zigzag(data, position)
    if kind == _BINARY:
        length, position = parse_varint(data, position)
        if position + length > len(data):
            raise IndexError
        return data[position : position + length], position + length
    if kind in (_LIST, _SET):
        head = data[position]
        count, position = (head >> 4, position + 1) if head >> 4 != 15 else parse_varint(data, position + 1)
        values = []
        for _ in range(count):
            value, position = _parse_value(data, position, head & 15, depth + 1)
            values.append(value)
        return values, position
    if kind == _STRUCT:
        return _parse_struct(data, position, depth + 1)
    if kind in (_TRUE, _FALSE, _BYTE):
        return data[position], position + 1
    if kind == _DOUBLE:
        return struct.unpack_from("<d", data, position)[0], position + 8
    raise ThriftError(f"there is no type {kind}")


def _parse_zigzag(data: bytes, position: int) -> tuple[int, int]:
    value, position = parse_varint(data, position)
    return value >> 1 ^ -(value & 1), position
