"""Bytes that are read by range: a local file, a remote file behind any fsspec URL, or a part of either."""

from __future__ import annotations

import bisect
import io
import itertools
import os
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ..errors import HiveError, SourceError, SourceNotFoundError, TruncatedSourceError, describe
from .blocks import BLOCK_SIZE, find_block_cache
from .servers import ask

#: Of files that are read as one.
_MAX_OPEN_PARTS = 64
#: What is asked for in one request.
_PIECE_BYTES = 8 << 20


class Bytes(Protocol):
    """Something of a known size that is read by range, from any thread and after a fork."""

    name: str
    size: int
    #: Tells contents under the same name apart.
    version: int

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, `length` of them or up to the end."""
        ...

    def read_once(self, offset: int, length: int) -> bytes:
        """The same, of what nobody will ask for again: no cache keeps it."""
        ...


class LocalBytes:
    """A file on disk."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (open as long as this object)
        status = os.fstat(self._file.fileno())
        self.size, self.version = status.st_size, status.st_mtime_ns

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        return os.pread(self._file.fileno(), length, offset)

    def read_once(self, offset: int, length: int) -> bytes:
        """See `Bytes`."""
        return self.read_at(offset, length)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class RemoteBytes:
    """A remote file, read through the cache of blocks."""

    def __init__(self, url: str, size: int, version: int) -> None:
        self.name, self.size, self.version = url, size, version
        #: The block that was read last: libsndfile asks for a few KB at a time.
        self._latest: tuple[int, bytes] = (-1, b"")

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Bytes`; raises a `SourceError` or `SourceUnreachableError` if the file cannot be had."""
        end = min(offset + length, self.size)
        blocks = range(offset // BLOCK_SIZE, -(-end // BLOCK_SIZE))
        data = b"".join(map(self._read_block, blocks))
        skipped = offset - blocks.start * BLOCK_SIZE
        return data[skipped : skipped + end - offset]

    def read_once(self, offset: int, length: int) -> bytes:
        """See `Bytes`; raises as `read_at`."""
        end = min(offset + length, self.size)
        starts = range(offset, end, _PIECE_BYTES)
        return b"".join(self._fetch(start, min(start + _PIECE_BYTES, end)) for start in starts)

    def _read_block(self, block: int) -> bytes:
        number, data = self._latest
        if number != block:
            data = find_block_cache().read(self, block, self._fetch)
            self._latest = (block, data)
        return data

    def _fetch(self, start: int, end: int) -> bytes:
        def request(fs: Any, path: str) -> bytes:
            data: bytes = fs.cat_file(path, start=start, end=end)
            if len(data) == self.size != end - start:  # a server that knows no ranges sends all
                data = data[start:end]
            if len(data) != end - start:
                raise ConnectionError(f"of bytes {start} to {end} only {len(data)} came: has the file changed?")
            return data

        try:
            return ask(self.name, request)
        except SourceNotFoundError:
            raise SourceNotFoundError("there is no such file any more") from None


class Part(NamedTuple):
    """One of several files that are read as one.

    Attributes:
        location: its path or URL.
        size, version: as of `Bytes`; of one that is missing, how long a gap it leaves.
        problem: why it cannot be had, in words; empty if it can.
    """

    location: str
    size: int
    version: int
    problem: str = ""


class JoinedBytes:
    """Several files as one run of bytes. Each is opened when it is first read, and a few of them stay open.

    Args:
        name: of all together.
        parts: in their order.

    Attributes:
        starts: where in the run each part begins.
        gaps: of the parts that are missing: where each begins, and the part.
    """

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name, self.parts = name, tuple(parts)
        ends = list(itertools.accumulate(part.size for part in self.parts))
        self.starts = [0, *ends][: len(ends)]
        self.gaps = [(start, part) for start, part in zip(self.starts, self.parts, strict=True) if part.problem]
        self.size = ends[-1] if ends else 0
        self.version = zlib.crc32(repr([(part.size, part.version) for part in self.parts]).encode()) | 1
        self._opened: OrderedDict[int, Bytes] = OrderedDict()

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Bytes`; raises a `SourceError` if a part that is needed is missing or has changed."""
        return self._read(offset, length, is_once=False)

    def read_once(self, offset: int, length: int) -> bytes:
        """See `Bytes`; raises as `read_at`."""
        return self._read(offset, length, is_once=True)

    def _read(self, offset: int, length: int, is_once: bool) -> bytes:
        pieces = []
        end = min(offset + length, self.size)
        while offset < end:
            position = bisect.bisect_right(self.starts, offset) - 1
            inside = offset - self.starts[position]
            wanted = min(end - offset, self.parts[position].size - inside)
            opened = self._open(position)
            data = opened.read_once(inside, wanted) if is_once else opened.read_at(inside, wanted)
            if len(data) == length:  # as nearly always
                return data
            pieces.append(data)
            offset += len(data)
            if len(data) < wanted:
                break
        return b"".join(pieces)

    def find(self, offset: int) -> tuple[int, Part]:
        """Where the part begins that a byte of the run is in, and the part."""
        position = bisect.bisect_right(self.starts, offset) - 1
        return self.starts[position], self.parts[position]

    def _open(self, position: int) -> Bytes:
        part = self.parts[position]
        opened = self._opened.get(position)
        if opened is None:
            if part.problem:
                raise SourceNotFoundError(part.problem)
            opened = RemoteBytes(*part[:3]) if "://" in part.location else open_bytes(part.location)
            if (opened.size, opened.version) != (part.size, part.version):
                raise SourceError(f"{part.location} has changed since it was listed: begin again")
            self._opened[position] = opened
            if len(self._opened) > _MAX_OPEN_PARTS:  # whoever reads one at this moment keeps it open
                self._opened.popitem(last=False)
        return opened


class RangeFile(io.RawIOBase):
    """A part of `Bytes` as a file.

    libsndfile reads it through callbacks that can hand no exception on. So an error is kept in `error`, and the file
    ends there.
    """

    def __init__(self, source: Bytes, start: int = 0, length: int | None = None) -> None:
        self._source, self._start, self._position = source, start, 0
        self._length = source.size - start if length is None else length
        self.error: BaseException | None = None
        #: Whether bytes are being waited for.
        self.is_waiting = False

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """See `io.RawIOBase`; which would copy what is read twice."""
        return self.readall() if size is None or size < 0 else self._take(size)

    def readall(self) -> bytes:
        """See `io.RawIOBase`; all at once, kept by no cache. What ends early has an `error`."""
        wanted = self._length - self._position
        data = self._take(self._length, is_once=True)
        if len(data) < wanted and self.error is None:
            self.error = TruncatedSourceError(f"of {wanted:,} bytes only {len(data):,} are there")
        return data

    def _take(self, wanted: int, is_once: bool = False) -> bytes:
        wanted = min(wanted, self._length - self._position)
        if wanted <= 0:
            return b""
        read = self._source.read_once if is_once or wanted > _PIECE_BYTES else self._source.read_at
        try:
            self.is_waiting = True
            data = read(self._start + self._position, wanted)
        except BaseException as error:  # Ctrl-C too, which libsndfile would pass over
            is_foreign = isinstance(error, OSError) and not isinstance(error, HiveError)
            self.error = SourceError(describe(error)) if is_foreign else error
            return b""
        finally:
            self.is_waiting = False
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._position

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True


def open_bytes(location: str) -> Bytes:
    """A local path or an fsspec URL as `Bytes`.

    Raises:
        SourceNotFoundError: there is no such file.
        SourceError: it cannot be had.
        SourceUnreachableError: its server cannot be reached.
    """
    if "://" not in location:
        try:
            return LocalBytes(location)
        except OSError as error:
            kind = SourceNotFoundError if isinstance(error, FileNotFoundError) else SourceError
            raise kind(describe(error)) from None
    info = ask(location, lambda fs, path: fs.info(path))
    if info.get("size") is None:
        raise SourceError("the server does not say how long it is, so it cannot be read by range")
    return RemoteBytes(location, info["size"], version_of(info))


def version_of(info: dict[str, Any]) -> int:
    """A number for the contents of a remote file, by what its listing says of them; 0 if it says nothing."""
    names = ("ETag", "etag", "Content-MD5", "blob_id", "xet_hash", "LastModified", "Last-Modified", "mtime", "created")
    said = [str(info[name]) for name in names if info.get(name) is not None]
    return zlib.crc32(repr(said).encode()) | 1 if said else 0
