"""Prepared sources, opened: on disk, mapped into memory, or behind any fsspec URL, read by range."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..errors import (
    HiveError,
    PreparedSourcesError,
    PreparedSourcesWarning,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    describe,
)
from ..recipe import Source
from ..recipe.tables import crop_samples
from ..sources.ranges import RemoteBytes, version_of
from ..sources.servers import ask
from ..utils.files import cache_folder, written_aside
from .index import KEY, NAME, ClipIndex, Entry
from .precision import STEP, Contribution, find_coarse
from .samples import BLOCK, PAGE, Signal, Stored, checksums, decode
from .shards import seed_of

ENVIRONMENT_VARIABLE = "HIVE_PREPARED"


class PreparedExcerpt(NamedTuple):
    """Samples of a prepared clip.

    Attributes:
        prepared: which prepared sources.
        source: what they are of.
        entry: where the clip is.
        start, length: the first sample of the clip, and how many; fewer than the mixture has, if the chunk is short.
    """

    prepared: PreparedSources
    source: Source
    entry: Entry
    start: int
    length: int


class PreparedSources:
    """Chunks that ``hive-datasets prepare`` has decoded and resampled.

    The files are mapped into memory, which all processes share. What is read is checked once a process and page
    against its checksum.

    Args:
        folder: where they are; a folder, or its fsspec URL.
        index: another index than the one in there.

    Raises:
        PreparedSourcesError: there are none, or a shard is missing or cut short.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> demo, folder = hive_datasets.demo_folder(), tempfile.mkdtemp()
        >>> preparation = hive_datasets.prepare_sources(
        ...     demo / "metadata", folder, sampling_rate=16000, dataset_paths=demo / "sources"
        ... )
        >>> prepared = PreparedSources(folder)
        >>> prepared.sampling_rate, len(prepared) == preparation.clips
        (16000, True)
    """

    def __init__(self, folder: str | os.PathLike[str], index: str | os.PathLike[str] | None = None) -> None:
        self.folder = _normalize(os.fspath(folder))
        files: _LocalFiles | _RemoteFiles = (
            _RemoteFiles(self.folder) if "://" in self.folder else _LocalFiles(self.folder)
        )
        self.index = ClipIndex(files.index() if index is None else index)
        files.check({name: size for name, size, _ in self.index.shards})
        self.sampling_rate = self.index.sampling_rate
        self._files = files
        self._shards: dict[int, _ShardData] = {}
        #: Of each page, 1 if it was found whole.
        self._is_whole = bytearray(self.index.num_pages)
        self._warned: set[str] = set()

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_prepared, (self.folder,)

    def find(self, source: Source, num_samples: int) -> PreparedExcerpt | None:
        """Where a source's crop, of at most `num_samples` samples, is; None if it, or part of it, is not here."""
        start, stop = source.crop_samples(self.sampling_rate, num_samples)
        row = self.index.find(source.path, source.chunk_start_second, source.chunk_end_second, start, stop)
        if row < 0:
            return None
        entry = self.index.entry(row)
        length = max(0, min(stop, entry.chunk_samples) - start)
        return PreparedExcerpt(self, source, entry, start - entry.start, length)

    def find_coarse(
        self, excerpts: Sequence[PreparedExcerpt | None], gains: Sequence[float], num_samples: int
    ) -> list[int]:
        """Which excerpts of a mixture are stored too coarsely for it, so that it could differ by more than one step.

        Args:
            excerpts: of each of its sources; None for those that are not here.
            gains: of each, linear.
            num_samples: its length.
        """
        if self.index.sample_type == "float16":  # whoever asked for that knows
            return []
        largest = [0.0 if excerpt is None else excerpt.entry.largest_error for excerpt in excerpts]
        # nearly always that will do: as if all the largest errors met
        if sum(error * abs(gain) for error, gain in zip(largest, gains, strict=True)) <= STEP:
            return []
        chosen, contributions = [], []
        for position, (excerpt, gain) in enumerate(zip(excerpts, gains, strict=True)):
            if excerpt is not None and excerpt.entry.largest_error > 0:
                with contextlib.suppress(PreparedSourcesError):  # which `read` will raise again
                    contributions.append(Contribution(self.errors_of(excerpt.entry), excerpt.start, abs(gain)))
                    chosen.append(position)
        return [chosen[coarse] for coarse in find_coarse(contributions, num_samples)] if chosen else []

    def read(
        self,
        excerpt: PreparedExcerpt,
        gain: float,
        out: Signal,
        total: Signal | None = None,
        is_first: bool = False,
        size_of: Callable[[str], int | None] = lambda path: None,
    ) -> None:
        """Write an excerpt, times a gain.

        Args:
            excerpt: what `find` found.
            gain: linear.
            out: float32 of shape (num_samples,), written to; what the chunk lacks is silence.
            total: float32 of shape (num_samples,), to which it is added, too; written to, if it is the first to be.
            is_first: whether it is.
            size_of: tells, of a metadata path, the size of the original in bytes, or None. Asked when samples are
                first read: what was prepared from a file of another size is stale.

        Raises:
            PreparedSourcesError: it is damaged or stale, or its shard is gone.
            SourceError: a remote shard cannot be read.
        """
        _, source, entry, start, length = excerpt
        if length:
            if not self._is_checked(entry, start, start + length):
                self._check_original(source.path, entry, size_of)
            samples, steps = self._load(entry, source, start, start + length)
            decode(samples, steps, start, gain, out[:length], None if total is None else total[:length], is_first)
        out[length:] = 0.0
        if total is not None and is_first:
            total[length:] = 0.0

    def is_whole(self, row: int, source: Source) -> bool:
        """Whether a clip, by its row of the index and its chunk, is as it was prepared."""
        entry = self.index.entry(row)
        try:
            if entry.num_samples:
                self._load(entry, source, 0, entry.num_samples)
        except PreparedSourcesError:
            return False
        return True

    def errors_of(self, entry: Entry) -> Signal:
        """By how much the samples of a clip differ from what was read at most, a number a block."""
        try:
            return self._open(entry).read(entry.errors_offset, -(-entry.num_samples // BLOCK), _FLOAT32)
        except (OSError, ValueError) as error:
            raise self._explain(error, entry) from None

    def _load(self, entry: Entry, source: Source, start: int, stop: int) -> tuple[Stored, Signal]:
        """Samples `start` to `stop` of a clip, and all its steps; checked if that was not done before."""
        try:
            shard = self._open(entry)
            first, last = start // PAGE, (stop - 1) // PAGE + 1
            begin, end = first * PAGE, min(last * PAGE, entry.num_samples)
            samples = shard.read(entry.samples_offset + begin * shard.sample_type.itemsize, end - begin)
            steps = shard.read(entry.steps_offset, entry.num_steps, _FLOAT32)
            if not self._is_checked(entry, start, stop):
                expected = shard.read(entry.checksums_offset + first * _UINT64.itemsize, last - first, _UINT64)
                of_pages = steps if len(steps) == 1 else steps[begin // BLOCK :]
                errors = self.errors_of(entry)[begin // BLOCK :]
                if not np.array_equal(checksums(samples, of_pages, errors, _seed(source, entry)), expected):
                    raise PreparedSourcesError(
                        f"{self.folder}/{shard.name} is damaged: clip {entry.row} is not what was prepared. "
                        "Mend it: hive-datasets prepare --verify, with the arguments as before."
                    )
                self._is_whole[entry.page + first : entry.page + last] = bytes([1]) * (last - first)
            return samples[start - begin : stop - begin], steps
        except (OSError, ValueError) as error:
            raise self._explain(error, entry) from None

    def _explain(self, error: OSError | ValueError, entry: Entry) -> Exception:
        """What to raise of a shard that is gone, or shorter than it was; errors of this library stay as they are."""
        if isinstance(error, HiveError):
            return error
        message = f"{self.folder}/{self.index.shards[entry.shard][0]} cannot be read any more: {describe(error)}"
        return PreparedSourcesError(f"{message}. Mend it: run hive-datasets prepare again, as before.")

    def _is_checked(self, entry: Entry, start: int, stop: int) -> bool:
        """Whether samples `start` to `stop` of a clip were found to be whole."""
        return self._is_whole.find(0, entry.page + start // PAGE, entry.page + (stop - 1) // PAGE + 1) < 0

    def _check_original(self, path: str, entry: Entry, size_of: Callable[[str], int | None]) -> None:
        size = size_of(path)
        if size is not None and entry.source_size not in (size, -1):
            raise PreparedSourcesError(
                f"{self.folder} is stale: the original had {entry.source_size} bytes when it was prepared, "
                f"and has {size} now. Run hive-datasets prepare again, with the arguments as before."
            )

    def _open(self, entry: Entry) -> _ShardData:
        shard = self._shards.get(entry.shard)
        if shard is None:
            name, size, sample_type = self.index.shards[entry.shard]
            shard = self._shards[entry.shard] = self._files.open(name, size, np.dtype(sample_type))
        return shard

    def is_for(self, rate: int) -> bool:
        """Whether they are of a rate in Hz; warns, once, if not."""
        if rate != self.sampling_rate:
            self.warn_once(
                str(rate),
                f"{self.folder} is prepared for {self.sampling_rate} Hz, not {rate}: the originals are read. (Mixtures "
                "of another rate than the metadata's are made at that of the metadata, and resampled, unless you say "
                'alignment="own".)',
            )
        return rate == self.sampling_rate

    def warn_once(self, subject: str, message: str) -> None:
        """Warn, once for each subject."""
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(message, PreparedSourcesWarning, stacklevel=3)


def _seed(source: Source, entry: Entry) -> int:
    return seed_of(
        source.path,
        source.chunk_start_second,
        source.chunk_end_second,
        entry.start,
        entry.chunk_samples,
        entry.source_size,
        entry.source_version,
        entry.largest_error,
    )


_FLOAT32, _UINT64 = np.dtype(np.float32), np.dtype(np.uint64)


class _ShardData(Protocol):
    """The bytes of a shard."""

    name: str
    sample_type: np.dtype[Any]

    def read(self, offset: int, count: int, dtype: np.dtype[Any] | None = None) -> npt.NDArray[Any]:
        """`count` numbers from a byte on; samples if not said otherwise."""
        ...


class _MappedShard:
    def __init__(self, file: str, sample_type: np.dtype[Any]) -> None:
        self.name, self.sample_type = os.path.basename(file), sample_type
        with open(file, "rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, offset: int, count: int, dtype: np.dtype[Any] | None = None) -> npt.NDArray[Any]:
        return np.frombuffer(self._map, dtype or self.sample_type, count, offset)


class _RemoteShard:
    def __init__(self, data: RemoteBytes, sample_type: np.dtype[Any]) -> None:
        self.name, self.sample_type = os.path.basename(data.name), sample_type
        self._data = data

    def read(self, offset: int, count: int, dtype: np.dtype[Any] | None = None) -> npt.NDArray[Any]:
        dtype = dtype or self.sample_type
        return np.frombuffer(self._data.read_at(offset, count * dtype.itemsize) if count else b"", dtype)


class _LocalFiles:
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def index(self) -> str:
        file = os.path.join(self._folder, NAME)
        if not os.path.exists(self._folder):
            raise PreparedSourcesError(
                f"no prepared sources in {self._folder}: it does not exist. hive-datasets prepare makes them"
            )
        if not os.path.exists(file):
            raise PreparedSourcesError(
                f"no prepared sources in {self._folder}: there is no {NAME}. hive-datasets prepare makes them; "
                "if it was interrupted, run it again to go on."
            )
        return file

    def check(self, sizes: dict[str, int]) -> None:
        for name, size in sizes.items():
            file = os.path.join(self._folder, name)
            found = os.path.getsize(file) if os.path.exists(file) else None
            _check_size(file, size, found)

    def open(self, name: str, size: int, sample_type: np.dtype[Any]) -> _MappedShard:
        return _MappedShard(os.path.join(self._folder, name), sample_type)


class _RemoteFiles:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listing: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(SourceNotFoundError, SourceUnreachableError):  # of a server that lists nothing
            self._listing = ask(folder, _list)

    def index(self) -> str:
        """A copy in the user's cache, which all processes share."""
        url = f"{self._folder}/{NAME}"
        try:
            version = version_of(ask(url, lambda fs, path: fs.info(path)))
            file = cache_folder("prepared") / f"{xxhash.xxh3_64_hexdigest(f'{self._folder}@{version}'.encode())}.arrow"
            if not version or not file.exists():
                with written_aside(file) as aside:
                    ask(url, lambda fs, path: fs.get_file(path, os.fspath(aside)))
        except (SourceNotFoundError, SourceUnreachableError, SourceRootError) as error:
            raise PreparedSourcesError(f"no prepared sources at {self._folder}: {error.message}") from None
        return os.fspath(file)

    def check(self, sizes: dict[str, int]) -> None:
        for name, size in sizes.items() if self._listing else ():
            is_listed = name in self._listing
            found = self._listing[name].get("size") if is_listed else None
            _check_size(f"{self._folder}/{name}", size, size if is_listed and found is None else found)

    def open(self, name: str, size: int, sample_type: np.dtype[Any]) -> _RemoteShard:
        version = version_of(self._listing.get(name, {}))
        return _RemoteShard(RemoteBytes(f"{self._folder}/{name}", size, version), sample_type)


def _list(fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    fs.invalidate_cache()
    return {name.rpartition("/")[2]: info for name, info in fs.find(folder, maxdepth=1, detail=True).items()}


def _check_size(file: str, size: int, found: int | None) -> None:
    if found != size:
        what = "is missing" if found is None else f"has {found} bytes, not {size}"
        message = f"prepared sources are damaged: {file} {what}"
        raise PreparedSourcesError(f"{message}. Mend them: run hive-datasets prepare again, with the same arguments.")


def find_covered(
    prepared: PreparedSources, table: pa.Table, chosen: npt.NDArray[np.bool_], sampling_rate: int | None = None
) -> npt.NDArray[np.bool_]:
    """Which of the chosen sources of a table of `RECIPE_SCHEMA`, one after the other, are prepared.

    Args:
        prepared: the prepared sources.
        table: the mixtures.
        chosen: for each source, whether to look.
        sampling_rate: rate in Hz that is rendered at; None for the recipes'.
    """
    sources = table.column("sources").combine_chunks()
    rates = table.column("sample_rate").to_numpy() if sampling_rate is None else np.full(len(table), sampling_rate)
    fits_rate = np.zeros(len(table), dtype=bool)
    for rate in np.unique(rates).tolist():
        fits_rate[rates == rate] = prepared.is_for(rate)
    fits = chosen & np.repeat(fits_rate, pc.list_value_length(sources).to_numpy())
    covered = np.zeros(len(chosen), dtype=bool)
    crops = [samples[fits].tolist() for samples in crop_samples(table, prepared.sampling_rate)]
    keys = [sources.flatten().field(name).filter(pa.array(fits)).to_pylist() for name in KEY]
    covered[fits] = [prepared.index.find(*crop) >= 0 for crop in zip(*keys, *crops, strict=True)]
    return covered


def find_prepared(given: Any = None) -> PreparedSources | None:
    """The prepared sources in force.

    Args:
        given: a folder, its URL, or prepared sources; None for ``HIVE_PREPARED``; False for none.

    Raises:
        PreparedSourcesError: there are none where they should be.
    """
    if given is None:
        given = os.environ.get(ENVIRONMENT_VARIABLE)
    if not given:
        return None
    if not isinstance(given, (str, os.PathLike, PreparedSources)):
        raise ValueError(f"prepared must be a folder or a URL of prepared sources, or False, not {given!r}")
    return given if isinstance(given, PreparedSources) else open_prepared(os.fspath(given))


def open_prepared(folder: str) -> PreparedSources:
    """The prepared sources in a folder, opened once a process, and anew when more were prepared."""
    folder = _normalize(folder)
    index = os.path.join(folder, NAME)
    return _open_prepared(folder, os.stat(index).st_mtime_ns if "://" not in folder and os.path.exists(index) else None)


def _normalize(folder: str) -> str:
    return folder.rstrip("/") if "://" in folder else os.path.abspath(os.path.expanduser(folder))


@functools.lru_cache(maxsize=16)
def _open_prepared(folder: str, modified: int | None) -> PreparedSources:
    return PreparedSources(folder)
