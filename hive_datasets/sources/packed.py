"""Compressed tars and 7z, which can only be gone through from the first member to the last.

They are no roots to stream from. `prepare` and `fetch` go through each once, and keep what is needed.
"""

from __future__ import annotations

import os
import queue
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import pyarrow as pa

from ..errors import (
    OutputError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    describe,
)
from .archives import MAX_UNPACKED_BYTES
from .contents import Content
from .corpora import Corpus
from .index import Extent, Index, Scan
from .ranges import RangeFile, open_bytes
from .variants import explain, loose_key

#: What they are called, and how `tarfile` names the compression; None where something else unpacks it.
_TARS = {
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".tar.bz2": "bz2",
    ".tar.xz": "xz",
    ".tar.zst": None,
    ".tzst": None,
}
PACKED_SUFFIXES = (*_TARS, ".7z")
#: Members of a 7z that wait to be taken.
_WAITING = 4


class OnePassStorage:
    """What roots have in common that can only be gone through: of what is in them nothing is known before.

    Args:
        root: the root.
        corpus: whose clips they are, which tells by what names they may go; None for one that the registry has not.
    """

    def __init__(self, root: str, corpus: Corpus | None) -> None:
        self.root, self.corpus = root.rstrip("/"), corpus

    def explain(self) -> str:
        """Why it is no root to stream from, and what to do."""
        return f"{self.root} can only be read in one pass: `hive-datasets prepare` makes one and keeps what is needed"

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`; cannot be done."""
        raise SourceRootError(self.explain())

    def is_current(self, index: Index) -> bool:
        """See `Storage`."""
        return False

    def names(self, path: str) -> tuple[str, ...]:
        """See `Storage`."""
        return (path.partition("/")[2],)

    def locate(self, path: str) -> str:
        """See `Storage`."""
        return f"{self.root} ({path})"

    def open(self, path: str, extent: Extent | None) -> IO[bytes]:
        """See `Storage`; cannot be done."""
        raise SourceFormatError(self.explain())

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int] | None:
        """See `Storage`; nothing tells."""
        return None

    def is_sequential(self, extent: Extent | None) -> bool:
        """See `SequentialStorage`."""
        return True


class PackedStorage(OnePassStorage):
    """A compressed tar or a 7z, by its path or URL, or a folder of such archives."""

    def archives(self) -> list[str]:
        """The archives, in the order of their names."""
        if not os.path.isdir(self.root):
            return [self.root]
        return sorted(os.path.join(self.root, name) for name in os.listdir(self.root) if is_packed(name))

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int] | None:
        """See `Storage`; a member is the same as long as all archives are."""
        if "://" in self.root:
            return None
        statuses = [os.stat(archive) for archive in self.archives()]
        key = repr([(status.st_size, status.st_mtime_ns) for status in statuses])
        return sum(status.st_size for status in statuses), zlib.crc32(key.encode())

    def read_in_order(self, wanted: Mapping[str, Extent | None]) -> Iterator[tuple[str, Content | SourceError]]:
        """See `SequentialStorage`; ends as soon as all is found."""
        left = Wanted(wanted, self.root, self.corpus)
        problems: list[str] = []
        archives = self.archives()
        for archive in archives:
            yield from read_wanted(archive, left, problems)
        reason = problems[0] if problems else f"none of the {len(archives)} archives has it"
        for path in left:
            yield path, SourceNotFoundError(f"it is not in {self.root}: {reason}")


class Wanted:
    """The paths that are still to be found in archives.

    Args:
        paths: relative to the root.
        root: what is gone through.
        corpus: whose clips they are; see `PackedStorage`.
    """

    def __init__(self, paths: Iterable[str], root: str, corpus: Corpus | None) -> None:
        self._root, self._corpus = root, corpus
        self._left: dict[str, list[str]] = {}
        for path in paths:
            self._left.setdefault(_key(path), []).append(path)

    def __bool__(self) -> bool:
        return bool(self._left)

    def __iter__(self) -> Iterator[str]:
        return (path for paths in list(self._left.values()) for path in list(paths))

    def find(self, member: str) -> str | None:
        """The path that a member stands for, by its name; None if it stands for none."""
        for path in self._left.get(_key(member), ()):
            if explain(path, member.removeprefix("./"), self._root, self._corpus) is not None:
                return path
        return None

    def has(self, members: Iterable[str]) -> bool:
        """Whether some member stands for a path."""
        return any(self.find(member) is not None for member in members)

    def take(self, path: str, member: str, data: bytes) -> Content:
        """What was found for a path, which is looked for no more."""
        rules = explain(path, member.removeprefix("./"), self._root, self._corpus) or ()
        self._left[_key(path)].remove(path)
        if not self._left[_key(path)]:
            del self._left[_key(path)]
        return Content(member, data, rules)


def read_wanted(
    archive: str, left: Wanted, problems: list[str], members: list[str] | None = None
) -> Iterator[tuple[str, Content]]:
    """Go through an archive once, as long as something is wanted.

    Args:
        archive: its path or URL.
        left: what is wanted.
        problems: to which is added why it cannot be read to its end, if so.
        members: to which the names of all members are added, if it is read to its end.

    Raises:
        SourceUnreachableError: a server cannot be reached.
    """
    seen: list[str] = []

    def is_wanted(name: str) -> bool:
        seen.append(name)
        return left.find(name) is not None

    if not left:
        return
    try:
        for name, data in _read_members(archive, is_wanted):
            path = left.find(name)
            if path is not None:  # and not a name that was there before
                yield path, left.take(path, name, data)
            if not left:
                return
    except (SourceUnreachableError, OutputError):
        raise
    except Exception as error:  # an archive may be broken in more ways than its reader has exceptions for
        problems.append(f"{archive} cannot be read to its end: {describe(error)}")
    else:
        if members is not None:
            members += seen


def is_packed(name: str) -> bool:
    """Whether a file is such an archive, by its name."""
    return name.partition("?")[0].lower().endswith(PACKED_SUFFIXES)


def _key(path: str) -> str:
    return loose_key(path.rpartition("/")[2])


def _read_members(archive: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The wanted members of an archive, in their order."""
    file = RangeFile(open_bytes(archive))
    read = _read_7z if archive.lower().endswith(".7z") else _read_tar
    try:
        yield from read(file, archive, is_wanted)
    except (
        Exception
    ):  # each kind of archive has exceptions of its own; to all, what a server fails to give is an early end
        if file.error is not None:
            raise file.error from None
        raise
    if file.error is not None:
        raise file.error


def _read_tar(file: RangeFile, archive: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    method = next(method for suffix, method in _TARS.items() if archive.lower().endswith(suffix))
    stream: Any = file
    if method is None:
        stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
    with tarfile.open(fileobj=stream, mode=f"r|{method or ''}") as members:  # type: ignore[call-overload]
        for member in members:
            if not member.isdir() and is_wanted(member.name) and member.isreg():
                if member.size > MAX_UNPACKED_BYTES:
                    raise SourceFormatError(f"member {member.name!r} has {member.size:,} bytes")
                opened = members.extractfile(member)
                assert opened is not None
                data = opened.read()
                if len(data) < member.size:
                    raise EOFError(f"member {member.name!r} is cut short")
                yield member.name, data
            members.members = []  # which would hold an object for each


def _read_7z(file: RangeFile, archive: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """py7zr hands members to a receiver; here it does so in a thread, which waits until each is taken."""
    py7zr = find_py7zr()
    results: queue.Queue[tuple[str, bytes] | BaseException | None] = queue.Queue(_WAITING)
    is_over = threading.Event()

    def put(result: tuple[str, bytes] | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                return results.put(result, timeout=0.1)
            except queue.Full:
                continue
        raise InterruptedError("nobody takes it any more")

    class Receiver(py7zr.io.Py7zBytesIO):  # type: ignore[misc,name-defined]
        def write(self, data: bytes | bytearray) -> int:
            if is_over.is_set():
                raise InterruptedError("nobody takes it any more")
            return int(super().write(data))

        def close(self) -> None:
            put((self.filename, self.read()))

    class Factory(py7zr.io.WriterFactory):  # type: ignore[misc,name-defined]
        def create(self, filename: str) -> Any:
            return Receiver(filename, MAX_UNPACKED_BYTES)

    def unpack() -> None:
        try:
            with py7zr.SevenZipFile(file, "r") as opened:
                opened.extract(targets=list(filter(is_wanted, opened.getnames())), factory=Factory())
            put(None)
        except BaseException as error:
            if not is_over.is_set():
                put(error)

    thread = threading.Thread(target=unpack, daemon=True)
    thread.start()
    try:
        while (result := _take(results)) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        is_over.set()
        thread.join(1.0)


def find_py7zr() -> Any:
    """The package that reads 7z.

    Raises:
        SourceFormatError: it is not installed.
    """
    try:
        import py7zr
        import py7zr.io
    except ImportError:
        hint = 'pip install "hive-datasets[fetch]"'
        raise SourceFormatError(f"7z is read by py7zr, which is not installed: {hint}") from None
    return py7zr


def _take(results: queue.Queue[Any]) -> Any:
    """What comes next; Ctrl-C is seen while it is waited for."""
    while True:
        try:
            return results.get(timeout=1.0)
        except queue.Empty:
            continue
