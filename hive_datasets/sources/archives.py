"""A root that is a zip or tar archive, local or remote, read in place."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any, ClassVar

from ..errors import (
    OutputError,
    SourceError,
    SourceFormatError,
    SourceRootError,
    SourceUnreachableError,
    TruncatedSourceError,
)
from .index import Extent, Index, Scan
from .ranges import Bytes, JoinedBytes, RangeFile, open_bytes
from .split_zips import Member, find_gap, list_members, open_zip

#: The archives that can be read at random, and their protocols in a chained fsspec URL.
ARCHIVE_SUFFIXES = {".zip": "zip", ".tar": "tar"}
#: A compressed member is unpacked, and must say that it is not larger than this; in memory, if it is small.
MAX_UNPACKED_BYTES = 1 << 30
_MAX_BYTES_IN_MEMORY, _COPIED_BYTES = 64 << 20, 1 << 20
#: No header of a tar is larger: names and the like, which are read into memory.
_MAX_HEADER_BYTES = 1 << 20

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_MAX_NAME_BYTES = 1 << 10
#: A flag of a zip's member: its name is UTF-8.
_IS_UTF8 = 0x800
#: Those of which no more is unpacked at once than is asked for: a bomb that lies about its size stays small.
_READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_IN_ONE_PASS = "cannot be read at random: `hive-datasets prepare` goes through it once; or unpack it"
_HINTS = {
    **dict.fromkeys([".gz", ".tgz", ".bz2", ".xz", ".zst", ".tzst"], f"a compressed tar {_IN_ONE_PASS}"),
    ".7z": f"a 7z {_IN_ONE_PASS}",
    ".rar": "unpack it, or pack it again as a .zip without compression",
    ".z01": "it is a part of a split zip: make the .zip beside it the root, of which all parts are read in place",
}


class _ArchiveStorage(ABC):
    """What zip and tar have in common."""

    #: In a chained fsspec URL.
    protocol: ClassVar[str]

    def __init__(self, root: str, archive: str, inside: str) -> None:
        self.root = root
        self.archive = archive
        self._inside = f"{inside}/" if inside else ""
        try:
            self._bytes: Bytes = self._open_bytes(archive)
        except SourceError as error:
            raise SourceRootError(f"{root}: {error}") from None

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`."""
        scan = Scan()
        scan.fingerprint = [self._bytes.size, self._bytes.version]
        file = RangeFile(self._bytes)
        try:
            self._list_members(io.BufferedReader(file, 1 << 16), scan, progress)
            if file.error is not None:
                raise file.error
        except Exception as error:  # an archive may be broken in more ways than its reader has exceptions for
            unreachable = file.error or error
            if isinstance(unreachable, SourceUnreachableError):
                raise unreachable from None
            raise SourceRootError(f"{self.archive}: {file.error or _explain(self.archive, error)}") from None
        return scan

    def is_current(self, index: Index) -> bool:
        """See `Storage`; opens the archive anew, since another may have taken its place."""
        try:
            self._bytes = self._open_bytes(self.archive)
        except SourceError as error:
            raise SourceRootError(f"{self.root}: {error}") from None
        return bool(index.fingerprint == [self._bytes.size, self._bytes.version])

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int] | None:
        """See `Storage`; a member is the same only as long as the archive is."""
        if extent is None or not self._bytes.version:
            return None
        key = repr((extent.offset, extent.version, self._bytes.size, self._bytes.version))
        return extent.size, zlib.crc32(key.encode())

    def names(self, path: str) -> tuple[str, ...]:
        """See `Storage`; a member may be below the corpus' own name."""
        return path.partition("/")[2], path

    def locate(self, path: str) -> str:
        """See `Storage`."""
        return f"{self.protocol}://{self._inside}{path}::{self.archive}"

    def _open_bytes(self, archive: str) -> Bytes:
        return open_bytes(archive)

    @abstractmethod
    def _list_members(self, file: Any, scan: Scan, progress: Callable[[int], None]) -> None:
        """Note every member of the open archive."""

    def _add(self, scan: Scan, name: str, problem: str | None, extent: Extent) -> None:
        """Note a member, unless its name or kind is one that must not be read."""
        name = name.removeprefix("./")
        if not name.startswith(self._inside):
            return
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            problem = "its name leads out of the archive"
        if problem:
            scan.add_problem(f"{self.archive}: member {name!r} is left out: {problem}")
        else:
            folder, _, file = name[len(self._inside) :].rpartition("/")
            scan.add(folder, file, extent)


class ZipStorage(_ArchiveStorage):
    """A zip, whole or in parts.

    Stored members are read by range, compressed ones are unpacked in memory when they are read.
    """

    protocol = "zip"

    def _open_bytes(self, archive: str) -> Bytes:
        return open_zip(archive)

    def open(self, path: str, extent: Extent | None) -> RangeFile | IO[bytes]:
        """See `Storage`."""
        assert extent is not None
        header = self._bytes.read_at(extent.offset, _LOCAL_HEADER.size + _MAX_NAME_BYTES)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(
            header[: _LOCAL_HEADER.size].ljust(_LOCAL_HEADER.size, b"\0")
        )
        name = header[_LOCAL_HEADER.size :][:name_length].rpartition(b"/")[2]
        is_its_name = path.rpartition("/")[2] in (name.decode("utf-8", "replace"), name.decode("cp437"))
        if signature != b"PK\x03\x04" or not (is_its_name or name_length > _MAX_NAME_BYTES):
            raise TruncatedSourceError(
                "it is not where the archive's directory says: the archive is damaged or changed"
            )
        start = extent.offset + _LOCAL_HEADER.size + name_length + extra_length
        packed = RangeFile(self._bytes, start, extent.packed_size)
        if extent.method == zipfile.ZIP_STORED:
            return packed
        if extent.size > MAX_UNPACKED_BYTES:
            limit = f"more than {MAX_UNPACKED_BYTES >> 30} GiB is not unpacked"
            raise SourceFormatError(f"it says that it has {extent.size} bytes when unpacked; {limit}")
        member = zipfile.ZipInfo(path)
        member.compress_type, member.compress_size, member.file_size = extent.method, extent.packed_size, extent.size
        member.CRC = extent.version
        # not read(), which would unpack all that is there before it cuts it to the size
        unpacking = zipfile.ZipExtFile(packed, "r", member)
        try:
            if extent.size <= _MAX_BYTES_IN_MEMORY:
                return io.BytesIO(unpacking.read(max(1, extent.size)))
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as it is read)
            while block := unpacking.read(_COPIED_BYTES):
                unpacked.write(block)
            unpacked.seek(0)
            return unpacked
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise TruncatedSourceError(f"it cannot be unpacked ({error})") from None
            message = f"there is no space in {tempfile.gettempdir()} to unpack its {extent.size:,} bytes (TMPDIR)"
            raise OutputError(message) from None  # which says nothing of the file
        except Exception as error:
            raise packed.error or TruncatedSourceError(f"it cannot be unpacked ({error})") from None

    def _list_members(self, file: Any, scan: Scan, progress: Callable[[int], None]) -> None:
        lost: Counter[str] = Counter()
        for member in list_members(self._bytes) if isinstance(self._bytes, JoinedBytes) else _list_whole(file):
            name = _decode_name(member)
            if name.endswith("/"):
                continue
            if isinstance(self._bytes, JoinedBytes) and (part := find_gap(self._bytes, member)) is not None:
                lost[part.problem] += 1
                continue
            problem = None
            if member.flags & 1:
                problem = "it is encrypted"
            elif member.method not in _READABLE_METHODS:
                problem = "it is compressed otherwise than by deflate"
            elif member.method == zipfile.ZIP_STORED and member.packed_size != member.size:
                problem = "its sizes contradict each other"
            extent = Extent(member.offset, member.packed_size, member.size, member.method, member.checksum)
            self._add(scan, name, problem, extent)
            if not len(scan) % 10_000:
                progress(len(scan))
        for missing, count in lost.items():
            scan.add_problem(f"{missing}, and with it {count:,} members")
        progress(len(scan))


class TarStorage(_ArchiveStorage):
    """A tar without compression, listed once, its members read by range."""

    protocol = "tar"

    def open(self, path: str, extent: Extent | None) -> RangeFile:
        """See `Storage`."""
        assert extent is not None
        name = path.rpartition("/")[2]
        try:
            block = self._bytes.read_at(max(0, extent.offset - tarfile.BLOCKSIZE), tarfile.BLOCKSIZE)
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            # a long name, or one that is not ASCII, stands elsewhere
            is_its_name = member.name.endswith(name) or not name.isascii() or len(member.name) >= tarfile.LENGTH_NAME
        except tarfile.TarError:
            is_its_name = False
        if not is_its_name or member.size != extent.size:
            raise TruncatedSourceError("it is not where the archive was listed to have it: it is damaged or changed")
        return RangeFile(self._bytes, extent.offset, extent.size)

    def _list_members(self, file: Any, scan: Scan, progress: Callable[[int], None]) -> None:
        headers: Any = _Headers(file)
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            try:
                for member in archive:
                    if not member.isdir():
                        problem = None if member.isreg() and not member.issparse() else "it is not a plain file"
                        extent = Extent(member.offset_data, member.size, member.size)
                        self._add(scan, member.name, problem, extent)
                    archive.members = []  # type: ignore[attr-defined]  # which would hold an object for each
                    if not len(scan) % 10_000:
                        progress(len(scan))
                end = self._bytes.read_at(archive.offset, tarfile.BLOCKSIZE)
                if end.strip(b"\0"):  # where zeros should be
                    raise tarfile.ReadError("there is no header")
            except tarfile.ReadError as error:
                if not len(scan):
                    raise
                scan.add_problem(f"{self.archive} ends too early, or is damaged at byte {archive.offset}: {error}")
        progress(len(scan))


class _Headers:
    """An archive that is read for its headers, none of which may be larger than any should be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header says that it has {size:,} bytes")
        return self._file.read(size)


def is_archive_name(name: str) -> bool:
    """Whether a file is an archive by its name, of a kind that can be a root or of another."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in ARCHIVE_SUFFIXES or suffix in _HINTS


def explain_archive(path: str) -> str:
    """Why a file on disk cannot be a root."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return "it is neither a folder nor a file"
    hint = _HINTS.get(os.path.splitext(path)[1].lower())
    return hint or "it is not a folder, nor an archive that can be read in place (.zip, .tar)"


def _list_whole(file: Any) -> Iterator[Member]:
    """The members of a zip that is whole."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.volume or member.header_offset < 0:  # the last half of a file that was cut, for one
                raise zipfile.BadZipFile("its directory speaks of other parts, or of what comes before its beginning")
            name = member.filename.encode("utf-8" if member.flag_bits & _IS_UTF8 else "cp437", "surrogateescape")
            yield Member(
                name,
                member.flag_bits,
                member.compress_type,
                member.CRC,
                member.compress_size,
                member.file_size,
                member.header_offset,
            )


def _explain(archive: str, error: Exception) -> str:
    if archive.endswith(".tar"):
        return f"it is not a tar, or it is compressed or damaged ({error})"
    return f"it is not a zip, or it is damaged ({error})"


def _decode_name(member: Member) -> str:
    """A member's name: UTF-8 wherever it can be, also where the archive does not say so."""
    try:
        return member.name.decode("utf-8")
    except UnicodeError:
        return member.name.decode("utf-8" if member.flags & _IS_UTF8 else "cp437", "surrogateescape")
