"""A zip in parts, X.z01, X.z02, ... and X.zip, read as it is published, without joining it.

The parts are read as one run of bytes. The directory names each member's place by the number of its part and the offset
in that part, which is what `zipfile` does not understand. (`zip -s 0` and `zip -F`, which join parts, end without an
error and yet damage members that cover a whole part, or whose data begin where a part begins.)
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import SourceError, SourceNotFoundError
from ..utils.threads import map_in_threads
from .ranges import Bytes, JoinedBytes, Part, open_bytes
from .servers import ask

_END, _MAX_COMMENT = struct.Struct("<4sHHHHIIH"), (1 << 16) - 1
_LOCATOR64, _END64 = struct.Struct("<4sIQI"), struct.Struct("<4sQHHIIQQQQ")
_ENTRY, _LOCAL_HEADER_BYTES = struct.Struct("<4sHHHHHHIIIHHHHHII"), 30
_ALL_ONES_16, _ALL_ONES_32 = (1 << 16) - 1, (1 << 32) - 1
_ZIP64_FIELD = 1
#: Parts of a remote archive that are asked for at once.
_REQUESTS = 8
#: More than any has: a damaged one may speak of billions.
_MAX_PARTS = 10_000


class Member(NamedTuple):
    """What a zip's directory says of a member; `offset` is that of its local header in all parts together."""

    name: bytes
    flags: int
    method: int
    checksum: int
    packed_size: int
    size: int
    offset: int


def open_zip(archive: str) -> Bytes:
    """The bytes of a zip; of one in parts, those of all parts, with gaps where parts are missing.

    Raises:
        SourceError, SourceUnreachableError: it cannot be had.
    """
    last = open_bytes(archive)
    count = _count_parts(last)
    return last if not 1 < count <= _MAX_PARTS else JoinedBytes(archive, _find_parts(archive, last, count))


def list_members(parts: JoinedBytes) -> Iterator[Member]:
    """The members of a zip in parts, in the order of its directory.

    Raises:
        zipfile.BadZipFile: the directory is damaged.
        SourceError: it is in a part that is missing.
    """
    data, entries = _read_directory(parts)
    position = 0
    for _ in range(entries):
        try:
            signature, *fields = _ENTRY.unpack_from(data, position)
        except struct.error:
            raise zipfile.BadZipFile("its directory is cut short") from None
        flags, method, checksum = fields[2], fields[3], fields[6]
        packed_size, size, name_length, extra_length, comment_length, disk = fields[7:13]
        offset = fields[15]
        if signature != b"PK\x01\x02":
            alone = all(part.problem for part in parts.parts[:-1])
            hint = f"; the parts {parts.parts[0].location} and on are not beside it, as they were published"
            raise zipfile.BadZipFile(f"its directory is damaged{hint if alone else ''}")
        position += _ENTRY.size
        name = data[position : position + name_length]
        extra = data[position + name_length : position + name_length + extra_length]
        position += name_length + extra_length + comment_length
        size, packed_size, offset, disk = _read_zip64(extra, size, packed_size, offset, disk)
        if disk >= len(parts.starts):
            raise zipfile.BadZipFile(f"member {name!r} is in a part {disk + 1} that there is not")
        yield Member(name, flags, method, checksum, packed_size, size, parts.starts[disk] + offset)


def find_gap(parts: JoinedBytes, member: Member) -> Part | None:
    """The missing part that some of a member is in; None if all of it is there."""
    stop = member.offset + _LOCAL_HEADER_BYTES + len(member.name) + member.packed_size
    touched = (part for start, part in parts.gaps if member.offset < start + part.size and stop > start)
    return next(touched, None)


def _count_parts(last: Bytes) -> int:
    """How many parts a zip has, by its last one; 1 if it is whole, or no zip."""
    tail, end = _read_end(last)
    if end is None:
        return 1
    locator = _read_locator(tail, end)
    if locator is not None:
        return locator[2]
    number = _END.unpack_from(tail, end)[1]
    return 1 if number == _ALL_ONES_16 else number + 1


def _read_directory(parts: JoinedBytes) -> tuple[bytes, int]:
    """The directory of a zip in parts, and how many entries it has."""
    tail, end = _read_end(parts)
    if end is None:
        raise zipfile.BadZipFile("its last part has no end record")
    _, last, disk, _, entries, size, offset, _ = _END.unpack_from(tail, end)
    locator = _read_locator(tail, end)
    if locator is not None:
        where, start, _ = locator
        record = parts.read_at(parts.starts[where] + start, _END64.size) if where < len(parts.starts) else b""
        if not record.startswith(b"PK\x06\x06") or len(record) < _END64.size:
            raise zipfile.BadZipFile("its zip64 end record is not where it should be")
        _, _, _, _, last, disk, _, entries, size, offset = _END64.unpack(record)
    if last != len(parts.parts) - 1 or disk > last:
        raise zipfile.BadZipFile("its end record speaks of another number of parts")
    data = parts.read_at(parts.starts[disk] + offset, size)
    if len(data) < size:
        raise zipfile.BadZipFile("its directory is cut short")
    return data, entries


def _read_end(data: Bytes) -> tuple[bytes, int | None]:
    """The last bytes of a zip, and where in them its end record is."""
    tail = data.read_at(max(0, data.size - _END.size - _MAX_COMMENT), _END.size + _MAX_COMMENT)
    found = tail.rfind(b"PK\x05\x06")
    return tail, found if 0 <= found <= len(tail) - _END.size else None


def _read_locator(tail: bytes, end: int) -> tuple[int, int, int] | None:
    """Of a zip64: the part and the offset in it of its own end record, and how many parts there are."""
    if end < _LOCATOR64.size or not tail.startswith(b"PK\x06\x07", end - _LOCATOR64.size):
        return None
    _, disk, offset, parts = _LOCATOR64.unpack_from(tail, end - _LOCATOR64.size)
    return disk, offset, max(1, parts)


def _find_parts(archive: str, last: Bytes, count: int) -> list[Part]:
    """The parts of a zip in their order. One that is missing is as long as the first, which all but the last are."""
    path, query, rest = archive.partition("?") if "://" in archive else (archive, "", "")
    stem, suffix = os.path.splitext(path)
    letter = suffix[1:2]  # of .zip or .ZIP
    names = [f"{stem}.{letter}{number:02d}{query}{rest}" for number in range(1, count)]
    found = _look_up(names)
    size = max((part.size for part in found if part is not None), default=1)
    parts = [
        part or Part(name, size, 0, f"the part {os.path.basename(name)} of {archive} is missing")
        for name, part in zip(names, found, strict=True)
    ]
    return [*parts, Part(archive, last.size, last.version)]


def _look_up(names: list[str]) -> list[Part | None]:
    """Files beside each other, local or remote; None for those that are not there."""

    def open_one(name: str) -> Part | None:
        try:
            found = open_bytes(name)
        except SourceNotFoundError:
            return None
        except SourceError as error:
            return Part(name, 1, 0, f"{name}: {error.message}")
        return Part(name, found.size, found.version)

    if "://" not in names[0]:
        return list(map(open_one, names))
    if not names[0].startswith(("http://", "https://")):  # which would ask for each by itself
        ask(names[0].rpartition("/")[0], lambda fs, folder: fs.ls(folder, detail=True))  # and keeps what it is told
    return list(map_in_threads(open_one, names, _REQUESTS))


def _read_zip64(extra: bytes, size: int, packed_size: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """Size, packed size, offset and part, of which those that are all ones stand in the extra field, in this order."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == _ZIP64_FIELD:
            field = extra[position + 4 : position + 4 + length]
            try:
                if size == _ALL_ONES_32:
                    size, field = struct.unpack_from("<Q", field)[0], field[8:]
                if packed_size == _ALL_ONES_32:
                    packed_size, field = struct.unpack_from("<Q", field)[0], field[8:]
                if offset == _ALL_ONES_32:
                    offset, field = struct.unpack_from("<Q", field)[0], field[8:]
                if disk == _ALL_ONES_16:
                    disk = struct.unpack_from("<I", field)[0]
            except struct.error:
                raise zipfile.BadZipFile("its directory has a damaged zip64 field") from None
        position += 4 + length
    return size, packed_size, offset, disk
