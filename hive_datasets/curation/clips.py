"""The audio of a record: a file, or bytes, or samples; and which seconds of it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from ..backends.protocols import Clip
from ..errors import (
    ChunkOutOfRangeError,
    EmptySourceError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    TruncatedSourceError,
    describe,
)
from ..export.encoding import Encoding
from ..mixing.reading import open_file, to_mono
from ..utils.interrupts import interrupts_held_back

Samples = npt.NDArray[np.float32]
#: The columns that say which seconds of a record's audio are meant, as in Hive's recipes; without them, all.
START, END = "chunk_start_second", "chunk_end_second"
#: Where a record's audio came from, once it has been replaced.
ORIGINAL_PATH, ORIGINAL_START, ORIGINAL_END = "original_path", "original_start_second", "original_end_second"
#: A file's bytes and its name, as the ``Audio`` of `datasets` stores them.
AUDIO_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
#: The columns that are added or changed where audio is replaced.
REPLACED = {
    "audio": AUDIO_TYPE,
    START: pa.float64(),
    END: pa.float64(),
    ORIGINAL_PATH: pa.string(),
    ORIGINAL_START: pa.float64(),
    ORIGINAL_END: pa.float64(),
}
#: BLAS sums float32 in float32: over so few samples, the error stays below 1e-7 of the sum.
_SUMMED_AT_ONCE = 256
#: What is shorter is not given to models, whose windows are longer.
MIN_SECONDS = 0.05
#: Seconds may lead so many frames past the end, as in Hive's recipes.
_TOLERATED_FRAMES = 10
#: Of a stream whose header was never completed, libsndfile says 2**63.
_MAX_FRAMES = 2**40


@dataclass(frozen=True)
class Extent:
    """Which frames of a file are meant.

    Attributes:
        sampling_rate: of the file, in Hz.
        start, stop: frames; `stop` is the one after the last.
    """

    sampling_rate: int
    start: int
    stop: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.stop - self.start) / self.sampling_rate


class OpenAudio:
    """The audio of a record, open: the frames that its seconds mean, block by block.

    Attributes:
        extent: which frames.
        channels: how many.
    """

    def __init__(self, source: soundfile.SoundFile | Samples, sampling_rate: int, record: Mapping[str, Any]) -> None:
        self._source = source
        frames = source.frames if isinstance(source, soundfile.SoundFile) else len(source)
        self.channels: int = source.channels if isinstance(source, soundfile.SoundFile) else source.shape[1]
        self.extent = _extent_of(record, sampling_rate, frames)

    def blocks(self, frames: int) -> Iterator[Samples]:
        """Its frames, so many at a time, float32 of shape (frames, channels); the last block may be shorter.

        A block is valid until the next is asked for.

        Raises:
            TruncatedSourceError: frames that the header promises cannot be decoded.
        """
        left = self.extent.stop - self.extent.start
        if not isinstance(self._source, soundfile.SoundFile):
            for start in range(self.extent.start, self.extent.stop, frames):
                yield self._source[start : min(start + frames, self.extent.stop)]
            return
        buffer = np.empty((min(frames, left), self.channels), np.float32)
        try:
            self._skip_to_start()
            while left:
                block = self._source.read(min(frames, left), out=buffer[: min(frames, left)])
                if not len(block):
                    raise TruncatedSourceError(f"its last {left:,} frames cannot be decoded")
                left -= len(block)
                yield block
        except soundfile.LibsndfileError as error:
            raise TruncatedSourceError(f"it cannot be decoded ({error.error_string.strip()})") from None

    def _skip_to_start(self) -> None:
        file: Any = self._source
        if not self.extent.start:
            return
        try:
            file.seek(self.extent.start)
        except soundfile.LibsndfileError:  # some encodings, as GSM's, can only be read from the start
            left = self.extent.start
            while left:
                skipped = len(file.read(min(left, self.extent.sampling_rate)))
                if not skipped:
                    raise TruncatedSourceError(f"the {left:,} frames before it cannot be decoded") from None
                left -= skipped


@contextmanager
def open_audio(record: Mapping[str, Any]) -> Iterator[OpenAudio]:
    """The audio of a record.

    Its column ``audio`` is a path or URL, what a `datasets` ``Audio`` column gives (decoded or not), or a dict of
    ``array``, of shape (T,) or (channels, T), and ``sampling_rate``.

    Raises:
        SourceError: one of its kinds, naming the file.

    Example:
        >>> with open_audio({"audio": {"array": np.zeros(1600), "sampling_rate": 16000}}) as audio:
        ...     audio.extent.seconds, [len(block) for block in audio.blocks(1000)]
        (0.1, [1000, 600])
    """
    value = record.get("audio")
    try:
        if isinstance(value, str | os.PathLike):
            with _opened_path(os.fspath(value)) as file:
                yield OpenAudio(file, file.samplerate, record)
        elif isinstance(value, Mapping) and value.get("bytes") is not None:
            # in libsndfile's calls to Python, Ctrl-C would be lost
            with interrupts_held_back(), open_file(io.BytesIO(value["bytes"])) as file:
                yield OpenAudio(file, file.samplerate, record)
        elif isinstance(value, Mapping) and value.get("path"):
            with _opened_path(value["path"]) as file:
                yield OpenAudio(file, file.samplerate, record)
        elif (decoded := _decoded(value)) is not None:
            yield OpenAudio(*decoded, record)
        else:
            raise SourceFormatError(f"audio is {_shorten(value)}, neither a path nor an Audio column's value")
    except SourceError as error:
        if error.path is None:  # say which
            name = name_of(record)
            raise type(error)(f"{name}: {error.message}", path=name) from None
        raise


def read_clip(record: Mapping[str, Any], min_seconds: float = 0.0) -> Clip:
    """The audio of a record, mono.

    Raises:
        SourceError: one of its kinds, also if a sample is not a number, or if it is shorter than `min_seconds`.
    """
    with open_audio(record) as audio:
        extent = audio.extent
        if extent.seconds < min_seconds:
            raise EmptySourceError(f"it is too short: {extent.seconds:.4f} s")
        signal = np.empty(extent.stop - extent.start, np.float32)
        done = 0
        for block in audio.blocks(extent.sampling_rate):
            signal[done : done + len(block)] = to_mono(block)
            done += len(block)
        if not np.isfinite(signal).all():
            raise SourceFormatError("it has samples that are not numbers")
    return Clip(signal, extent.sampling_rate)


def clip_or_problem(record: Mapping[str, Any]) -> tuple[Clip | None, str]:
    """The audio of a record for a model, mono; or None, and what stands in a step's reason then.

    Example:
        >>> clip_or_problem({"audio": "gone.wav"})
        (None, 'unreadable: gone.wav: there is no such file')
    """
    try:
        return read_clip(record, MIN_SECONDS), ""
    except SourceError as error:
        return None, f"unreadable: {error.message}"


def sum_of_squares(block: Samples) -> float:
    """The sum of the squares of all samples.

    Example:
        >>> sum_of_squares(np.full((3, 2), 0.5, np.float32))
        1.5
    """
    flat = np.ascontiguousarray(block).reshape(-1)
    whole = len(flat) // _SUMMED_AT_ONCE * _SUMMED_AT_ONCE
    rows = flat[:whole].reshape(-1, 1, _SUMMED_AT_ONCE)
    return float(np.matmul(rows, rows.transpose(0, 2, 1)).sum(dtype=np.float64)) + float(flat[whole:] @ flat[whole:])


def copy_audio(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a record that has a copy of the audio that it means, all channels, instead of its recording.

    Raises:
        SourceError: it cannot be read.
    """
    with open_audio(record) as audio:
        blocks = [block.copy() for block in audio.blocks(audio.extent.sampling_rate)]
        return replace_audio(record, np.concatenate(blocks), audio.extent.sampling_rate)


def replace_audio(record: Mapping[str, Any], samples: Samples, sampling_rate: int) -> dict[str, Any]:
    """The columns of a record that has other audio instead of its recording, and says where it came from.

    Args:
        record: the record.
        samples: float32 of shape (T, channels). They become a FLAC file of 24 bits, which keeps what was recorded with
            up to 24; beyond full scale, or where FLAC has no such rate or so many channels, a WAV file of floats.
        sampling_rate: in Hz.

    Example:
        >>> columns = replace_audio({"audio": "a.wav", START: 5.0, END: 15.0}, np.zeros((16000, 1), np.float32), 16000)
        >>> columns["audio"]["path"], columns["audio"]["bytes"][:4], columns[START], columns[END]
        ('a.flac', b'fLaC', 0.0, 1.0)
        >>> columns["original_path"], columns["original_start_second"], columns["original_end_second"]
        ('a.wav', 5.0, 15.0)
    """
    fits = np.abs(samples).max(initial=0.0) <= 1 and samples.shape[1] <= 8 and sampling_rate <= 655_350
    kind, subtype = ("flac", "PCM_24") if fits else ("wav", "FLOAT")
    data = Encoding(kind, subtype).encode(samples, sampling_rate)[0]
    name = name_of(record)
    start, end = (ORIGINAL_START, ORIGINAL_END) if is_replaced(record) else (START, END)
    path = record[ORIGINAL_PATH] if is_replaced(record) else name
    origin = {ORIGINAL_PATH: path, ORIGINAL_START: record.get(start), ORIGINAL_END: record.get(end)}
    audio = {"bytes": data, "path": f"{os.path.splitext(os.path.basename(name))[0]}.{kind}"}
    return {"audio": audio, START: 0.0, END: len(samples) / sampling_rate, **origin}


def store_audio(value: Any) -> Any:
    """What can be written to a file of a record's audio: of decoded samples, the bytes of a file.

    Example:
        >>> store_audio({"array": np.zeros(100), "sampling_rate": 8000})["bytes"][:4], store_audio("a.wav")
        (b'fLaC', 'a.wav')
    """
    decoded = _decoded(value)
    return value if decoded is None else {**replace_audio({"audio": value}, *decoded)["audio"], "path": None}


def as_file(value: Any) -> dict[str, Any]:
    """A record's audio as a column of `AUDIO_TYPE` has it: of a path, no bytes; of samples, those of a file.

    Example:
        >>> as_file("a.wav"), as_file({"bytes": b"fLaC", "path": "b.flac"})
        ({'bytes': None, 'path': 'a.wav'}, {'bytes': b'fLaC', 'path': 'b.flac'})
    """
    with suppress(SourceError):  # of another shape than audio has: it was told before
        value = store_audio(value)
    if isinstance(value, str | os.PathLike):
        return {"bytes": None, "path": os.fspath(value)}
    stored = value if isinstance(value, Mapping) else {}
    return {"bytes": stored.get("bytes"), "path": stored.get("path")}


def is_replaced(record: Mapping[str, Any]) -> bool:
    """Whether a record has other audio than its recording's."""
    return bool(record.get(ORIGINAL_PATH))


def name_of(record: Mapping[str, Any]) -> str:
    """What to call the audio of a record: its path, if it has one."""
    value = record.get("audio")
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping) and value.get("path"):
        return str(value["path"])
    return str(_path_of_decoder(value) or "audio without a path")


def _extent_of(record: Mapping[str, Any], sampling_rate: int, frames: int) -> Extent:
    if not frames:
        raise EmptySourceError("it has no frames")
    start, end = (_seconds_of(record, name) for name in (START, END))
    if frames > _MAX_FRAMES:
        raise SourceFormatError("its header does not say how long it is: convert it, as `ffmpeg -i OLD NEW` does")
    first = 0 if start is None else round(start * sampling_rate)
    last = frames if end is None else round(end * sampling_rate)
    if frames < last <= frames + _TOLERATED_FRAMES:
        last = frames
    if not 0 <= first < last <= frames:
        raise ChunkOutOfRangeError(f"it has {frames / sampling_rate:.3f} s, of which {start} to {end} s were asked for")
    return Extent(sampling_rate, first, last)


def _seconds_of(record: Mapping[str, Any], name: str) -> float | None:
    """A column of seconds; what is missing may be NaN, too."""
    value = record.get(name)
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise SourceFormatError(f"{name} is {value!r:.40}, no number of seconds") from None
    return seconds if math.isfinite(seconds) else None


@contextmanager
def _opened_path(path: str) -> Iterator[soundfile.SoundFile]:
    if "://" not in path:
        with open_file(path) as file:
            yield file
        return
    try:
        with interrupts_held_back(), fsspec.open(path, "rb") as stream, open_file(stream) as file:
            yield file
    except FileNotFoundError as error:  # fsspec's, also of a server that is down
        cause = f" ({describe(error.__cause__)})" if error.__cause__ else ""
        raise SourceNotFoundError(f"there is no such file{cause}") from None
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"it cannot be read: {describe(error)}") from None


def _decoded(value: Any) -> tuple[Samples, int] | None:
    """Samples of shape (T, channels) and their rate, of a decoded ``Audio`` value."""
    if hasattr(value, "get_all_samples"):  # torchcodec, which datasets decodes with since 4.0
        decoded = value.get_all_samples()
        array, sampling_rate = decoded.data.numpy(), decoded.sample_rate
    elif isinstance(value, Mapping) and value.get("array") is not None:
        array, sampling_rate = np.asarray(value["array"]), value["sampling_rate"]
    else:
        return None
    if array.ndim not in (1, 2):
        raise SourceFormatError(f"its array has {array.ndim} axes: give samples, or channels and samples")
    return np.atleast_2d(array).T.astype(np.float32), int(sampling_rate)


def _path_of_decoder(value: Any) -> str | None:
    encoded = getattr(value, "_hf_encoded", None)  # what datasets keeps of the column's value
    return encoded.get("path") if isinstance(encoded, Mapping) else None


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:60]}..."
