"""A root of parquet with audio in it, as `datasets` and the Hub store it, read in place.

By the footers of the files each clip becomes a range of bytes, or a page to unpack, so that one is read without the
others. Where a row group is one large page or has one large dictionary, as `datasets` wrote them up to version 4.0, it
can only be decoded as a whole: then what reads at random decodes one for nearly every clip, and what goes through in
order, as `prepare` does, each once.
"""

from __future__ import annotations

import io
import itertools
import os
import posixpath
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import (
    EmptySourceError,
    SequentialSourceWarning,
    SourceError,
    SourceRootError,
    SourceUnreachableError,
    TruncatedSourceError,
    describe,
)
from ..utils.threads import map_in_threads
from .blocks import BLOCK_SIZE
from .contents import Content
from .corpora import Corpus, ParquetRule
from .index import Extent, Index, Scan
from .parquet_pages import Chunk, PageError, Place, find_places, find_value, read_chunks
from .ranges import Bytes, JoinedBytes, Part, RangeFile, open_bytes
from .remote import LISTING_SECONDS, list_files, locate_in
from .variants import AUDIO_SUFFIXES

SUFFIX = ".parquet"
#: Columns that name a row's clip, besides the path in the column of audio itself: the first that a row has one in.
_NAMING_COLUMNS = ("filename", "file_name", "path", "video_id", "ytid", "id")
#: What an extent's method tells: the bytes are the clip; a page has it; a whole row group has to be decoded for it.
_RANGE, _PAGE, _GROUP = range(3)
_KINDS = 4
#: Files that are looked into at once.
_JOBS = 8


class _Found(NamedTuple):
    """What was found in a file: of each clip its name, where it is and how; and what could not be looked into."""

    clips: list[tuple[str, Place, int]]
    problems: list[str]


class ParquetStorage:
    """A file of parquet, or a folder of such files, local or remote.

    Args:
        root: its path or URL.
        corpus: whose clips they are, which tells by what a row is named; None for one that the registry has not.
    """

    def __init__(self, root: str, corpus: Corpus | None) -> None:
        self.root = root.rstrip("/")
        self._rule = (corpus.parquet if corpus else None) or ParquetRule()
        self._suffix = (os.path.splitext(corpus.path)[1] if corpus else "") or ".wav"
        self._bytes = JoinedBytes(self.root, [])
        self._chunks: dict[str, list[Chunk]] = {}
        self._lock = threading.Lock()
        #: The row group that was decoded last: its file, where it begins, and its values.
        self._group: tuple[tuple[int, int], pa.Array] | None = None
        self._has_warned = False

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`."""
        scan = Scan()
        files = self._list_files()
        scan.fingerprint = {"rule": list(self._rule), "files": [list(part[:3]) for part in files]}
        self._bytes = JoinedBytes(self.root, files)
        for part, start, found in zip(
            files, self._bytes.starts, map_in_threads(self._look_into, files, _JOBS), strict=True
        ):
            folder = self._folder_of(part.location)
            for name, place, kind in found.clips:
                method = kind + _KINDS * (place.position or 0)
                scan.add(folder, name, Extent(start + place.offset, place.size, place.size, method))
            for problem in found.problems:
                scan.add_problem(f"{part.location}: {problem}")
            progress(len(scan))
        if not len(scan):
            reason = scan.problems[0] if scan.problems else "it has no file of parquet"
            raise SourceRootError(f"{self.root}: no clip is found in it: {reason}")
        return scan

    def is_current(self, index: Index) -> bool:
        """See `Storage`; the listing of a remote folder is trusted for a day."""
        if not isinstance(index.fingerprint, dict) or index.fingerprint.get("rule") != list(self._rule):
            return False
        known = [Part(*entry) for entry in index.fingerprint["files"]]
        is_remote = "://" in self.root
        if is_remote and time.time() - index.created >= LISTING_SECONDS:
            return False
        if not is_remote and self._list_files() != known:
            return False
        self._bytes = JoinedBytes(self.root, known)
        return True

    def names(self, path: str) -> tuple[str, ...]:
        """See `Storage`: rows are known by the name of the clip, where the rule says so with its last folder."""
        *folders, name = path.split("/")
        return (f"{folders[-1]}/{name}" if self._rule.in_folder else name,)

    def locate(self, path: str) -> str:
        """See `Storage`."""
        return f"{self.root} ({path})"

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int] | None:
        """See `Storage`; a row is the same as long as its file is."""
        if extent is None:
            return None
        _, part = self._bytes.find(extent.offset)
        key = repr((extent.offset, extent.method, part.size, part.version))
        return (extent.size, zlib.crc32(key.encode())) if part.version else None

    def open(self, path: str, extent: Extent | None) -> RangeFile | IO[bytes]:
        """See `Storage`."""
        assert extent is not None
        kind = extent.method % _KINDS
        if kind == _RANGE:
            return RangeFile(self._bytes, extent.offset, extent.size)
        start, chunk = self._find_chunk(extent)
        if kind == _PAGE:
            return self._open_page(start, chunk, extent)
        self._warn()
        with self._lock:
            key = (start, chunk.start)
            if self._group is None or self._group[0] != key:
                self._group = None  # before the next is there
                self._group = (key, self._read_group(start, chunk))
            return io.BytesIO(_pick(self._group[1], extent.method // _KINDS))

    def is_sequential(self, extent: Extent | None) -> bool:
        """See `SequentialStorage`."""
        return extent is not None and extent.method % _KINDS == _GROUP

    def read_in_order(self, wanted: Mapping[str, Extent | None]) -> Iterator[tuple[str, Content | SourceError]]:
        """See `SequentialStorage`; row groups that have nothing of it are not read."""
        extents = sorted((extent.offset, path, extent) for path, extent in wanted.items() if extent is not None)
        for _, group in itertools.groupby(extents, key=lambda each: each[0]):
            values: pa.Array | SourceError | None = None  # of the one before, of which nothing is left
            for _, path, extent in group:
                if values is None:
                    try:
                        values = self._read_group(*self._find_chunk(extent))
                    except SourceError as error:
                        values = error
                yield path, values if isinstance(values, SourceError) else _pick_one(path, values, extent)

    def _list_files(self) -> list[Part]:
        if "://" in self.root:
            if self.root.partition("?")[0].endswith(SUFFIX):
                return [self._ask(Part(self.root, 0, 0))]
            listed = [part for part in list_files(self.root) if part.location.endswith(SUFFIX)]
            found = [part._replace(location=locate_in(self.root, part.location)) for part in listed]
            return sorted(self._ask(part) if part.size < 0 else part for part in found)
        files = [self.root] if os.path.isfile(self.root) else sorted(find_local(self.root))
        statuses = map(os.stat, files)
        return [Part(file, status.st_size, status.st_mtime_ns) for file, status in zip(files, statuses, strict=True)]

    def _ask(self, part: Part) -> Part:
        found = open_bytes(part.location)
        return Part(part.location, found.size, found.version)

    def _folder_of(self, location: str) -> str:
        """What stands before the names of a file's clips: the folder that the file is in, where the rule says so."""
        return posixpath.basename(posixpath.dirname(location)) if self._rule.in_folder else ""

    def _look_into(self, part: Part) -> _Found:
        """The clips of one file."""
        clips: list[tuple[str, Place, int]] = []
        problems: list[str] = []
        try:
            data = JoinedBytes(part.location, [part])
            file = RangeFile(data)
            with pq.ParquetFile(pa.PythonFile(file, "r")) as opened:
                column = find_audio_column(opened.schema_arrow, self._rule.audio)
                chunks = self._read_chunks(data, column)
                start = 0
                for number, chunk in enumerate(chunks):
                    names = self._read_names(opened, number, column)
                    clips += self._find_clips(data, chunk, names, start, problems)
                    start += chunk.rows  # by which its problems name rows
        except SourceUnreachableError:
            raise
        except Exception as error:  # a file may be broken in more ways than its readers have exceptions for
            if isinstance(file.error, SourceUnreachableError):
                raise file.error from None
            problems.append(f"it cannot be read: {describe(file.error or error)}")
        return _Found(clips, problems)

    def _find_clips(
        self, data: Bytes, chunk: Chunk, names: list[str | None], first_row: int, problems: list[str]
    ) -> Iterator[tuple[str, Place, int]]:
        # of a remote file, blocks for the cache would be all of it, where clips are larger than blocks
        places = find_places(data.read_once if chunk.size > chunk.rows * BLOCK_SIZE else data.read_at, chunk)
        if places is None:
            kind = _GROUP
            places = [Place(row, chunk.start, chunk.size, row) for row in range(chunk.rows)]
        else:
            kind = _PAGE
        nameless = 0
        for place in places:
            name = names[place.row]
            nameless += name is None
            if name is not None:
                yield name, place, _RANGE if place.position is None else kind
        if nameless:
            problems.append(f"{nameless:,} rows from row {first_row} on have no name")
        if len(places) < chunk.rows:
            problems.append(f"{chunk.rows - len(places):,} rows from row {first_row} on have no audio, but null")

    def _read_names(self, file: pq.ParquetFile, group: int, column: str) -> list[str | None]:
        """The name of each row's clip, as the metadata would have it."""
        named = (self._rule.column, f"{column}.path", *_NAMING_COLUMNS)
        there = {file.schema.column(number).path for number in range(len(file.schema))}
        wanted = [name for name in dict.fromkeys(named) if name in there]
        table = file.read_row_group(group, columns=wanted) if wanted else pa.table({})
        names: list[str | None] = [None] * file.metadata.row_group(group).num_rows
        for dotted in wanted:
            values = table.column(dotted.partition(".")[0]).combine_chunks()
            for field in dotted.split(".")[1:]:
                values = values.flatten()[values.type.get_field_index(field)]  # with the nulls of what it is in
            texts = values.to_pylist()
            names = [
                known or (self._name(text) if text is not None else None)
                for known, text in zip(names, texts, strict=True)
            ]
            if all(names):
                break
        return names

    def _name(self, text: Any) -> str | None:
        name = posixpath.basename(str(text).replace("\\", "/"))
        if not name or name in (".", ".."):
            return None
        return name if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES else name + self._suffix

    def _read_chunks(self, data: Bytes, column: str) -> list[Chunk]:
        return read_chunks(data.read_at, data.size, (column, "bytes"))

    def _find_chunk(self, extent: Extent) -> tuple[int, Chunk]:
        """Where the file begins that an extent is in, in all of them together, and the row group."""
        start, part = self._bytes.find(extent.offset)
        try:
            if part.location not in self._chunks:
                file = self._file_at(start, part)
                with pq.ParquetFile(pa.PythonFile(file, "r")) as opened:
                    column = find_audio_column(opened.schema_arrow, self._rule.audio)
                self._chunks[part.location] = self._read_chunks(JoinedBytes(part.location, [part]), column)
        except (PageError, pa.ArrowException, OSError) as error:
            raise TruncatedSourceError(f"{part.location} is damaged, or has changed: {describe(error)}") from None
        for chunk in self._chunks[part.location]:
            if chunk.start <= extent.offset - start < chunk.end:
                return start, chunk
        raise TruncatedSourceError(f"{part.location} has changed since it was listed: no row group is there")

    def _file_at(self, start: int, part: Part) -> RangeFile:
        return RangeFile(self._bytes, start, part.size)

    def _open_page(self, start: int, chunk: Chunk, extent: Extent) -> RangeFile | IO[bytes]:
        def read(offset: int, length: int) -> bytes:
            return self._bytes.read_at(start + offset, length)

        place = Place(0, extent.offset - start, extent.packed_size, extent.method // _KINDS)
        try:
            found = find_value(read, chunk, place)
        except PageError as error:
            name = self._bytes.find(start)[1].location
            raise TruncatedSourceError(f"{name}: {error}: it is damaged, or has changed") from None
        if found is None:
            raise EmptySourceError("its row has no audio, but null")
        if isinstance(found, bytes):
            return io.BytesIO(found)
        offset, size = found
        return RangeFile(self._bytes, start + offset, size)

    def _read_group(self, start: int, chunk: Chunk) -> pa.Array:
        """The audio of a whole row group."""
        _, part = self._bytes.find(start)
        file = self._file_at(start, part)
        try:
            file.read(1)  # which tells whether it is still the same
            if file.error is not None:
                raise file.error
            source = pa.PythonFile(file, "r") if "://" in part.location else part.location
            with pq.ParquetFile(source, page_checksum_verification=True) as opened:
                column = find_audio_column(opened.schema_arrow, self._rule.audio)
                number = self._chunks[part.location].index(chunk)
                table = opened.read_row_group(number, columns=[f"{column}.bytes"])
        except (pa.ArrowException, OSError) as error:
            if file.error is not None and not isinstance(file.error, SourceError):
                raise file.error from None
            raise TruncatedSourceError(f"{part.location} is damaged: {describe(file.error or error)}") from None
        chunks = [chunk.flatten()[0] for chunk in table.column(0).chunks]
        return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self.root} can only be decoded a row group at a time, anew for nearly every clip that is read at "
                "random: `hive-datasets prepare` goes through it once",
                SequentialSourceWarning,
                stacklevel=2,
            )


def find_audio_column(schema: pa.Schema, name: str = "") -> str:
    """The column of audio: of structs that have bytes.

    Args:
        schema: of the file.
        name: which it is, if there are several.

    Raises:
        PageError: there is none, or several and none of that name.
    """
    found = _audio_columns(schema)
    if name in found:
        return name
    if len(found) == 1:
        return found[0]
    if "audio" in found:
        return "audio"
    raise PageError(
        f"it has {'several columns' if found else 'no column'} of audio ({', '.join(found or schema.names)})"
    )


def find_local(folder: str) -> Iterator[str]:
    """The files of parquet in a folder on disk and those below it."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(place, name) for name in names if name.endswith(SUFFIX) and not name.startswith("."))


def holds_audio(location: str) -> bool:
    """Whether a file of parquet, local or remote, has a column of audio; False if it cannot be read."""
    try:
        with pq.ParquetFile(pa.PythonFile(RangeFile(open_bytes(location)), "r")) as opened:
            return bool(_audio_columns(opened.schema_arrow))
    except SourceUnreachableError:
        raise
    except Exception:  # broken in whatever way
        return False


def _audio_columns(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_struct(field.type) and _has_bytes(field.type)]


def _has_bytes(type_: pa.StructType) -> bool:
    position = type_.get_field_index("bytes")
    return bool(
        position >= 0 and (pa.types.is_binary(type_[position].type) or pa.types.is_large_binary(type_[position].type))
    )


def _pick(values: pa.Array, number: int) -> bytes:
    if number >= len(values):
        raise TruncatedSourceError("its row group has fewer rows than when it was listed")
    value = values[number]
    if not value.is_valid:
        raise EmptySourceError("its row has no audio, but null")
    data: bytes = value.as_py()
    return data


def _pick_one(path: str, values: pa.Array, extent: Extent) -> Content | SourceError:
    try:
        return Content(path, _pick(values, extent.method // _KINDS))
    except SourceError as error:
        return error


def is_parquet(names: Iterable[str]) -> bool:
    """Whether some names of files in a folder are those of parquet, and none that of audio."""
    suffixes = {os.path.splitext(name)[1].lower() for name in names}
    return SUFFIX in suffixes and not suffixes & AUDIO_SUFFIXES
