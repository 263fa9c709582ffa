"""Where in a parquet file the values of one column of bytes are, and how to get one without the others.

No reader of parquet skips pages: each decodes a whole row group of a hundred clips to give one. This knows as much of
the format as that takes: the footer, the index of pages, their headers, levels, and the encodings that writers use for
bytes. See https://parquet.apache.org/docs/file-format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from .thrift import CutShortError, ThriftError, parse_struct, parse_varint

#: Reads from an offset so many bytes, or up to the end.
Read = Callable[[int, int], bytes]

_MAGIC = b"PAR1"
#: The numbers of compressions in the format; another, such as Hadoop's LZ4, is left to pyarrow.
UNCOMPRESSED = 0
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_PLAIN, _DICTIONARIES = 0, (2, 8)
_BYTE_ARRAY, _REQUIRED, _REPEATED = 6, 0, 2
#: Of a page's header, without statistics and with all that a writer may put in.
_HEADER_BYTES, _MAX_HEADER_BYTES = 1 << 9, 1 << 20
#: A dictionary, or a page of several values, that is larger is not read for one value.
MAX_PAGE_BYTES = 16 << 20
#: What is unpacked at once, at most.
_MAX_UNPACKED_BYTES = 1 << 31


class PageError(ValueError):
    """The bytes are not those of a parquet file, or of a kind that is not known here."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The column in one row group.

    Attributes:
        rows: how many there are.
        start, size: its bytes, a dictionary included.
        first_page: where its first page of data is.
        codec: its compression, by the number that the format has for it.
        max_level: the level of values that are there; lower ones are of nulls.
        index: offset and size of the index of its pages, if there is one.
    """

    rows: int
    start: int
    size: int
    first_page: int
    codec: int
    max_level: int
    index: tuple[int, int] | None

    @property
    def dictionary_size(self) -> int:
        """The bytes of its dictionary; 0 if it has none."""
        return self.first_page - self.start

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + self.size


class Place(NamedTuple):
    """Where the value of a row is.

    Attributes:
        row: in its row group.
        offset, size: the bytes to read; without a page's header and all, if they are the value itself.
        position: which value of a page it is; None where the bytes are the value itself.
    """

    row: int
    offset: int
    size: int
    position: int | None


class _Page(NamedTuple):
    offset: int
    size: int
    rows: int


def read_chunks(read: Read, size: int, column: tuple[str, ...]) -> list[Chunk]:
    """A column of bytes in each of a file's row groups.

    Args:
        read: reads of the file.
        size: the file's.
        column: the names that lead to it, such as ("audio", "bytes").

    Raises:
        PageError: it is no parquet file, or the column is not there, or of another type, or in a list.
    """
    tail = read(max(0, size - 8), 8)
    if len(tail) < 8 or not tail.endswith(_MAGIC):
        raise PageError("it does not end as parquet does")
    length = struct.unpack("<I", tail[:4])[0]
    if length + 12 > size:
        raise PageError("its footer is longer than the file")
    footer = _parse(read(size - 8 - length, length))
    try:
        max_level = _find_level(footer[2], column)
        return [_read_chunk(group, column, max_level, size) for group in footer.get(4, [])]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise PageError("its footer is damaged") from None


def find_places(read: Read, chunk: Chunk) -> list[Place] | None:
    """Where each value of a chunk is that is there; None if they can only be had all at once.

    Raises:
        PageError: the pages are damaged.
    """
    if (chunk.codec not in _CODECS and chunk.codec != UNCOMPRESSED) or chunk.dictionary_size > MAX_PAGE_BYTES:
        return None
    places: list[Place] = []
    row = 0
    for page in _read_index(read, chunk) if chunk.index else _walk(read, chunk):
        if page.rows > 1 and chunk.codec == UNCOMPRESSED and chunk.dictionary_size == 0:
            places += _find_plain(read, chunk, page, row)
        elif page.rows > 1 and page.size > MAX_PAGE_BYTES:
            return None
        else:
            places += (Place(row + position, page.offset, page.size, position) for position in range(page.rows))
        row += page.rows
    if row != chunk.rows:
        raise PageError(f"its pages have {row} rows, where the row group has {chunk.rows}")
    return places


def find_value(read: Read, chunk: Chunk, place: Place) -> tuple[int, int] | bytes | None:
    """The value at a place: the offset and size of its bytes where they stand as they are, else the bytes; or null.

    Raises:
        PageError: the page is damaged.
    """
    assert place.position is not None
    header, begin = _read_header(read, place.offset)
    if chunk.codec == UNCOMPRESSED and _encoding_of(header) == _PLAIN and header[1] != _DATA_PAGE_V2:
        for row, offset, size, _ in _find_plain(read, chunk, _Page(place.offset, place.size, place.position + 1), 0):
            if row == place.position:
                return offset, size
        return None
    data = read(place.offset, place.size)
    levels, values = _split_page(header, data[begin - place.offset :], chunk)
    if place.position >= len(levels):
        raise PageError("a page has fewer values than its index says")
    if levels[place.position] != chunk.max_level:
        return None
    number = sum(level == chunk.max_level for level in levels[: place.position])
    encoding = _encoding_of(header)
    if encoding == _PLAIN:
        return _nth(values, number)
    if encoding not in _DICTIONARIES:
        raise PageError(f"a page has an encoding ({encoding}) that is not known here")
    keys = _decode_runs(values[1:], values[0], number + 1) if values else []
    if number >= len(keys):
        raise PageError("a page is cut short")
    dictionary, begin = _read_header(read, chunk.start)
    packed = read(begin, dictionary.get(3, 0))
    return _nth(_unpack(packed, dictionary.get(2, 0), chunk.codec), keys[number])


def _find_plain(read: Read, chunk: Chunk, page: _Page, first_row: int) -> Iterator[Place]:
    """The values of an uncompressed page, found by hopping from length to length."""
    header, offset = _read_header(read, page.offset)
    if _encoding_of(header) != _PLAIN:
        raise PageError(f"an uncompressed page has the encoding {_encoding_of(header)}")
    if header[1] == _DATA_PAGE_V2:
        details = header[8]
        length, count = details.get(5, 0), details.get(1, 0)
        offset += details.get(6, 0)
    else:
        count = header[5].get(1, 0)
        length = 0
        if chunk.max_level:
            length = _length_at(read, offset)
            offset += 4
    levels = _decode_levels(read(offset, length), chunk.max_level, count)
    offset += length
    for position, level in enumerate(levels[: page.rows]):
        if level == chunk.max_level:
            size = _length_at(read, offset)
            if offset + 4 + size > chunk.end:
                raise PageError("a value is longer than its page")
            yield Place(first_row + position, offset + 4, size, None)
            offset += 4 + size


def _length_at(read: Read, offset: int) -> int:
    data = read(offset, 4)
    if len(data) < 4:
        raise PageError("a page is cut short")
    return int(struct.unpack("<I", data)[0])


def _split_page(header: dict[int, Any], data: bytes, chunk: Chunk) -> tuple[list[int], bytes]:
    """The levels of a page of data, and its values, unpacked."""
    if header[1] == _DATA_PAGE_V2:
        details = header[8]
        length = details.get(5, 0)
        skipped = details.get(6, 0)
        levels = _decode_levels(data[skipped : skipped + length], chunk.max_level, details.get(1, 0))
        packed = data[skipped + length : header[3]]
        if details.get(7, True):
            packed = _unpack(packed, header[2] - length - skipped, chunk.codec)
        return levels, packed
    values = _unpack(data[: header[3]], header[2], chunk.codec)
    count = header[5].get(1, 0)
    if not chunk.max_level:
        return [0] * count, values
    if len(values) < 4:
        raise PageError("a page is cut short")
    length = struct.unpack_from("<I", values)[0]
    return _decode_levels(values[4 : 4 + length], chunk.max_level, count), values[4 + length :]


def _nth(values: bytes, number: int) -> bytes:
    """One of values that stand one after the other, each behind its length."""
    position = 0
    for _ in range(number):
        if position + 4 > len(values):
            raise PageError("a page is cut short")
        position += 4 + struct.unpack_from("<I", values, position)[0]
    if position + 4 > len(values):
        raise PageError("a page is cut short")
    size = struct.unpack_from("<I", values, position)[0]
    value = values[position + 4 : position + 4 + size]
    if len(value) < size:
        raise PageError("a value is longer than its page")
    return value


def _unpack(data: bytes, size: int, codec: int) -> bytes:
    if codec == UNCOMPRESSED:
        return data
    if not 0 <= size < _MAX_UNPACKED_BYTES:
        raise PageError(f"a page says that it has {size:,} bytes when unpacked")
    try:
        unpacked: bytes = pa.decompress(data, decompressed_size=size, codec=_CODECS[codec], asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise PageError(f"a page cannot be unpacked ({error})") from None
    return unpacked


def _decode_levels(data: bytes, max_level: int, count: int) -> list[int]:
    if not max_level:
        return [0] * count
    levels = _decode_runs(data, max_level.bit_length(), count)
    if len(levels) < count:
        raise PageError("the levels of a page are cut short")
    return levels


def _decode_runs(data: bytes, width: int, count: int) -> list[int]:
    """Numbers of so many bits in runs, each of one number, or packed in groups of eight: as many as there are.

    Example:
        >>> _decode_runs(bytes([3, 0b10001000, 0b11000110, 0b11111010, 6, 5]), 3, 11)
        [0, 1, 2, 3, 4, 5, 6, 7, 5, 5, 5]
    """
    numbers: list[int] = []
    position, length = 0, (width + 7) // 8
    while len(numbers) < count and position < len(data):
        try:
            header, position = parse_varint(data, position)
        except (IndexError, ThriftError):
            raise PageError("the levels or keys of a page are cut short") from None
        if header & 1:
            groups = header >> 1
            packed = int.from_bytes(data[position : position + groups * width], "little")
            wanted = min(groups * 8, count - len(numbers))
            numbers += [packed >> place * width & (1 << width) - 1 for place in range(wanted)]
            position += groups * width
        else:
            number = int.from_bytes(data[position : position + length], "little")
            numbers += [number] * min(header >> 1, count - len(numbers))
            position += length
    return numbers


def _read_index(read: Read, chunk: Chunk) -> list[_Page]:
    assert chunk.index is not None
    offset, size = chunk.index
    locations = _parse(read(offset, size)).get(1, [])
    try:
        places = [(page[1], page[2], page.get(3, 0)) for page in locations]
    except (KeyError, AttributeError, TypeError):
        raise PageError("the index of its pages is damaged") from None
    bounds = [*(first for _, _, first in places), chunk.rows]
    pages = []
    for (offset, size, first), stop in zip(places, bounds[1:], strict=True):
        if not (chunk.start <= offset <= offset + size <= chunk.end and stop >= first):
            raise PageError("the index of its pages is damaged")
        pages.append(_Page(offset, size, stop - first))
    return pages


def _walk(read: Read, chunk: Chunk) -> Iterator[_Page]:
    """The pages of a chunk that has no index of them, found by hopping from header to header."""
    offset, rows = chunk.first_page, 0
    while rows < chunk.rows and offset < chunk.end:
        header, begin = _read_header(read, offset)
        end = begin + header.get(3, 0)
        if not offset < end <= chunk.end:
            raise PageError("a page is longer than its row group")
        if header[1] in (_DATA_PAGE, _DATA_PAGE_V2):
            count = header[5 if header[1] == _DATA_PAGE else 8].get(1, 0)  # values are rows: no list is above them
            yield _Page(offset, end - offset, count)
            rows += count
        offset = end


def _read_header(read: Read, offset: int) -> tuple[dict[int, Any], int]:
    """The header of a page, and where what follows it begins."""
    for length in (_HEADER_BYTES, _MAX_HEADER_BYTES):
        data = read(offset, length)
        try:
            header, size = parse_struct(data)
        except CutShortError:
            continue
        except ThriftError:
            break
        details = header.get({_DATA_PAGE: 5, _DATA_PAGE_V2: 8, _DICTIONARY_PAGE: 7}.get(header.get(1, 0), -1))
        if isinstance(details, dict) and header.get(2, 0) >= 0 and header.get(3, 0) >= 0:
            return {1: 0, **header}, offset + size
        break
    raise PageError("the header of a page is damaged")


def _encoding_of(header: dict[int, Any]) -> int:
    return int(header[5].get(2, 0) if header[1] == _DATA_PAGE else header[8].get(4, 0))


def _read_chunk(group: dict[int, Any], column: tuple[str, ...], max_level: int, file_size: int) -> Chunk:
    for each in group[1]:
        facts = each[3]
        if tuple(name.decode("utf-8", "replace") for name in facts[3]) == column:
            start = facts[9]
            dictionary = facts.get(11) or start
            first = min(start, dictionary)
            index = (each[4], each[5]) if each.get(4) and each.get(5) else None
            if facts[1] != _BYTE_ARRAY or not 0 <= first <= first + facts[7] <= file_size:
                raise PageError("its footer is damaged")
            return Chunk(group[3], first, facts[7], max(start, first), facts.get(4, 0), max_level, index)
    raise PageError(f"a row group has no column {'.'.join(column)}")


def _find_level(schema: list[dict[int, Any]], column: tuple[str, ...]) -> int:
    """How many of the names that lead to a column may be null."""
    level = wanted = 0
    position = 1  # after the root
    while position < len(schema):
        element = schema[position]
        if element[4].decode("utf-8", "replace") != column[wanted]:
            position = _skip(schema, position)
            continue
        repetition = element.get(3, 0)
        if repetition == _REPEATED:
            raise PageError(f"column {'.'.join(column)} is in a list")
        level += int(repetition != _REQUIRED)
        wanted += 1
        if wanted == len(column):
            return level
        position += 1
    raise PageError(f"it has no column {'.'.join(column)}")


def _skip(schema: list[dict[int, Any]], position: int) -> int:
    """The element after one and all that are in it."""
    left = 1
    while left and position < len(schema):
        left += schema[position].get(5, 0) - 1
        position += 1
    return position


def _parse(data: bytes) -> dict[int, Any]:
    try:
        return parse_struct(data)[0]
    except ThriftError as error:
        raise PageError(f"its footer, or an index in it, is damaged: {error}") from None
