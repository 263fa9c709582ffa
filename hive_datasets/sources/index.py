"""An index of a root: every file in it, found in one scan, saved, and memory-mapped by all who look things up.

It is an Arrow file of one row a file. Rows are sorted by a hash of folder and name, and column `first` says where in
that order each of as many equal intervals of hashes begins: a hash table whose buckets are rows. So a look-up touches a
few bytes of the map, nothing is loaded, and worker processes share the pages. A second such table, over what names have
in common with their variants, gives the candidates for a path that is not there.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..utils.checksums import checksum_of
from ..utils.files import written_aside
from .variants import loose_key, loose_keys

#: Of the file; another number for every change of it, so that no file of another layout is read.
LAYOUT = "3"
#: Problems of a scan that are kept; there may be millions.
_MAX_PROBLEMS = 1000
#: Columns of files that are ranges of bytes of something else, or lie where asking for a size takes a request.
EXTENT_COLUMNS = ("offset", "packed_size", "size", "method", "version")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the bytes of an archive's member or of a remote file are.

    Attributes:
        offset: of a zip member, its local header; of a tar member, its data; 0 for a remote file.
        packed_size, size: bytes as stored, and unpacked.
        method: compression method as in the zip format; 0 for none.
        version: tells contents under the same name apart: a zip member's CRC-32, a remote file's ETag or date.
    """

    offset: int
    packed_size: int
    size: int
    method: int = 0
    version: int = 0


class Scan:
    """What a scan found, file by file, without holding a Python object for each.

    Attributes:
        kind: of the root: the name of the class that scanned it.
        fingerprint: changes when the root does; JSON.
        problems: what could not be looked into, in words.
    """

    def __init__(self) -> None:
        self.folders: dict[str, int] = {}
        self.folder_ids = array("i")
        self.names = bytearray()
        self.name_ends = array("q")
        self.extents = {name: array("q") for name in EXTENT_COLUMNS}
        self.kind = ""
        self.fingerprint: Any = None
        self.problems: list[str] = []
        self.started = time.time()

    def add(self, folder: str, name: str, extent: Extent | None = None) -> None:
        """Note a file: `folder` is relative to the root, "" for the root itself."""
        self.folder_ids.append(self.folders.setdefault(folder, len(self.folders)))
        self.names += name.encode("utf-8", "surrogateescape")
        self.name_ends.append(len(self.names))
        if extent is not None:
            for column in EXTENT_COLUMNS:
                self.extents[column].append(getattr(extent, column))

    def add_problem(self, problem: str) -> None:
        """Note something that could not be looked into."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)

    def __len__(self) -> int:
        return len(self.folder_ids)


class Index:
    """The files of a root, by path.

    Args:
        file: an index that `write_index` wrote.

    Example:
        >>> import tempfile
        >>> scan = Scan()
        >>> scan.add("audio", "1-5-A-0.wav")
        >>> write_index(scan, tempfile.gettempdir() + "/example.arrow")
        >>> index = Index(tempfile.gettempdir() + "/example.arrow")
        >>> index.path(index.find("audio/1-5-A-0.wav")), index.find("audio/2.wav")
        ('audio/1-5-A-0.wav', -1)
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        with pa.memory_map(os.fspath(file)) as source:
            table = pa.ipc.open_file(source).read_all()
        metadata = {key.decode(): json.loads(value) for key, value in (table.schema.metadata or {}).items()}
        if metadata.get("layout") != LAYOUT:
            raise ValueError(f"{file} is not an index of layout {LAYOUT}")
        if metadata.pop("checksum", None) != checksum_of(table, metadata):
            raise ValueError(f"{file} is damaged")
        self.kind: str = metadata["kind"]
        self.fingerprint = metadata["fingerprint"]
        self.problems: list[str] = metadata["problems"]
        self.created: float = metadata["created"]
        self._size = len(table)
        self._folders: list[str] = metadata["folders"]
        self._folder_ids = {folder: position for position, folder in enumerate(self._folders)}
        # Memory views of the map: reading a number from one takes a fifth of what numpy takes. The one chunk, and not
        # combine_chunks(), which copies.
        columns = {
            name: column.chunk(0).buffers() for name, column in zip(table.column_names, table.columns, strict=True)
        }
        _, ends, names = columns.pop("name")
        self._name_ends, self._names = _view(ends, "q", self._size + 1), _view(names, "B")
        self._numbers = {
            name: _view(data, "q" if name in EXTENT_COLUMNS else "I", self._size) for name, (_, data) in columns.items()
        }
        self._folder, self._hash, self._first = (self._numbers[name] for name in ("folder", "hash", "first"))

    def __len__(self) -> int:
        return self._size

    def find(self, path: str) -> int:
        """The row of a path relative to the root; -1 if it is not there."""
        folder, _, name = path.rpartition("/")
        folder_id = self._folder_ids.get(folder)
        if folder_id is None:
            return -1
        encoded = name.encode("utf-8", "surrogateescape")
        wanted = zlib.crc32(encoded, folder_id)
        size, hashes, ends = self._size, self._hash, self._name_ends
        row = self._first[wanted * size >> 32]
        found = -1  # the last one, as when an archive with a name twice is unpacked
        while row < size and hashes[row] <= wanted:
            # the CRC of one name differs for every folder that it starts from, so the folder need not be compared
            if hashes[row] == wanted and self._names[ends[row] : ends[row + 1]] == encoded:
                found = row
            row += 1
        return found

    def candidates(self, name: str) -> list[str]:
        """The paths of all files whose names are, up to the known variants, `name`."""
        # an archive may have a name twice
        return list(dict.fromkeys(path for key in loose_keys(name) for path in self._loosely_named(key)))

    def path(self, row: int) -> str:
        """The path of a row, relative to the root."""
        name = bytes(self._names[self._name_ends[row] : self._name_ends[row + 1]]).decode("utf-8", "surrogateescape")
        folder = self._folders[self._folder[row]]
        return f"{folder}/{name}" if folder else name

    @property
    def has_extents(self) -> bool:
        """Whether it tells where bytes are: of an archive or a remote folder."""
        return EXTENT_COLUMNS[0] in self._numbers

    def extent(self, row: int) -> Extent:
        """Where the bytes of a row's file are; of a root that has extents."""
        return Extent(*(self._numbers[column][row] for column in EXTENT_COLUMNS))

    def paths(self) -> Iterator[str]:
        """Every path, in no particular order."""
        return map(self.path, range(self._size))

    def _loosely_named(self, key: str) -> Iterator[str]:
        if not self._size:
            return
        wanted = zlib.crc32(key.encode("utf-8", "surrogateescape"))
        hashes, rows = self._numbers["loose_hash"], self._numbers["loose_row"]
        position = self._numbers["loose_first"][wanted * self._size >> 32]
        while position < self._size and hashes[position] <= wanted:
            if hashes[position] == wanted:
                path = self.path(rows[position])
                if loose_key(path.rpartition("/")[2]) == key:
                    yield path
            position += 1


def write_index(scan: Scan, file: str | os.PathLike[str]) -> None:
    """Write what a scan found as an index; the file appears when it is whole."""
    ends = np.concatenate([[0], np.asarray(scan.name_ends, dtype=np.int64)])
    names = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(scan), [None, pa.py_buffer(ends), pa.py_buffer(scan.names)]
    )
    folders = np.asarray(scan.folder_ids, dtype=np.uint32)
    hashes = np.fromiter(_hash_paths(names, folders), np.uint32, len(scan))
    order = np.argsort(hashes, kind="stable")
    names = names.take(pa.array(order))
    loose = np.fromiter(_hash_loosely(names), np.uint32, len(scan))
    loose_order = np.argsort(loose, kind="stable")
    columns: dict[str, Any] = {
        "name": names,
        "folder": folders[order],
        "hash": hashes[order],
        "first": _first_rows(hashes[order]),
        "loose_hash": loose[loose_order],
        "loose_first": _first_rows(loose[loose_order]),
        "loose_row": loose_order.astype(np.uint32),
    }
    columns |= {name: np.asarray(values)[order] for name, values in scan.extents.items() if len(values)}
    metadata = {
        "layout": LAYOUT,
        "kind": scan.kind,
        "fingerprint": scan.fingerprint,
        "problems": scan.problems,
        "created": scan.started,
        "folders": list(scan.folders),
    }
    table = pa.table(columns)
    metadata["checksum"] = checksum_of(table, json.loads(json.dumps(metadata)))
    table = table.replace_schema_metadata({key: json.dumps(value) for key, value in metadata.items()})
    with (
        written_aside(file) as aside,
        pa.OSFile(os.fspath(aside), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_batch(
            table.combine_chunks().to_batches()[0] if len(table) else pa.RecordBatch.from_pydict(columns)
        )


def _hash_paths(names: pa.Array, folders: npt.NDArray[np.uint32]) -> Iterator[int]:
    for start in range(0, len(names), 1 << 16):
        block = folders[start : start + (1 << 16)].tolist()
        yield from map(zlib.crc32, names[start : start + (1 << 16)].to_pylist(), block)


def _hash_loosely(names: pa.Array) -> Iterator[int]:
    for start in range(0, len(names), 1 << 16):
        for name in names[start : start + (1 << 16)].to_pylist():
            key = loose_key(name.decode("utf-8", "surrogateescape"))
            yield zlib.crc32(key.encode("utf-8", "surrogateescape"))


def _first_rows(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """For each of as many buckets as there are rows, the first row whose hash is in it or a later one."""
    buckets = hashes.astype(np.uint64) * np.uint64(len(hashes)) >> np.uint64(32)
    return np.searchsorted(buckets, np.arange(len(hashes), dtype=np.uint64)).astype(np.uint32)


def _view(buffer: pa.Buffer | None, format: Literal["B", "I", "q"], count: int | None = None) -> memoryview[int]:
    """A buffer as so many numbers; none as a single zero, since nothing of length 0 can be cast."""
    if buffer is None or not buffer.size or count == 0:
        return memoryview(bytes(8)).cast("B").cast(format)
    size = None if count is None else count * struct.calcsize(format)  # it may be said to be longer
    return memoryview(buffer).cast("B")[:size].cast(format)
