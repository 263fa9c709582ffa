"""Reading a source's excerpt: only the frames that are needed, mono, resampled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..errors import (
    ChunkOutOfRangeError,
    EmptySourceError,
    NonFiniteSourceError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    TruncatedSourceError,
)
from ..recipe import Source
from ..recipe.schema import MAX_GAIN
from ..sources.catalogue import LocatedSource
from ..sources.ranges import RangeFile
from ..utils.interrupts import interrupts_held_back
from .flac import parse_flac
from .ogg import find_damage
from .planning import Excerpt, Header, OutOfRangeError, plan_samples

#: Encodings in which libsndfile seeks to the exact sample. The others (Vorbis, Opus, MP3, ADPCM, ...) are decoded
#: from the start.
SEEKABLE_SUBTYPES = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})


@dataclass(frozen=True, slots=True)
class Reading:
    """Frames of a file as they were planned, mono.

    Attributes:
        signal: float32 of shape (excerpt.stop - excerpt.start,), at the file's own rate.
        header: of the file.
        excerpt: what of them, once resampled, to keep.
    """

    signal: npt.NDArray[np.float32]
    header: Header
    excerpt: Excerpt

    def resample(self, sampling_rate: int) -> npt.NDArray[np.float32]:
        """The samples that are asked for; as many may be missing at the end as the resampler leaves out."""
        excerpt = self.excerpt
        return resample(self.signal, self.header.sampling_rate, sampling_rate, excerpt.skip, excerpt.length)


def read_frames(located: LocatedSource, source: Source, sampling_rate: int, start: int, stop: int) -> Reading:
    """Read what the samples `start` to `stop` of a source's chunk, resampled, depend on.

    Args:
        located: where the file is.
        source: which seconds of it are the chunk.
        sampling_rate: rate in Hz that it will be resampled to.
        start: the first sample, at that rate.
        stop: the sample to stop before; what the chunk lacks is silence.

    Raises:
        SourceError: one of its kinds, if the file does not have that audio.
    """

    def plan(header: Header) -> Excerpt:
        if header.frames == 0:
            raise EmptySourceError("it has a header, but no frames")
        try:
            return plan_samples(source, header, sampling_rate, start, stop)
        except OutOfRangeError as error:
            raise ChunkOutOfRangeError(f"{error} (10 frames past the end are tolerated)") from None

    with _open_located(located) as opened:
        reading = _read_flac(opened, plan)
        if reading is not None:
            return reading
        with open_file(opened) as file:
            # A stream whose header was never completed counts as endless; the chunk is then taken at its word.
            header = Header(file.samplerate, file.frames, file.channels)
            excerpt = plan(header)
            return Reading(to_mono(_read_frames(file, excerpt)), header, excerpt)


def _read_flac(opened: str | RangeFile | IO[bytes], plan: Callable[[Header], Excerpt]) -> Reading | None:
    """Read a source without libsndfile, if it is FLAC; None if libsndfile must be asked."""
    if isinstance(opened, RangeFile):
        reading = _read_blocks(opened, plan)
        _raise_error_of(opened)
        opened.seek(0)
        return reading
    if not isinstance(opened, str):
        return None
    try:
        with open(opened, "rb", buffering=0) as file:
            return _read_blocks(file, plan)
    except SourceError:
        raise
    except OSError:  # libsndfile will meet it, too, and it is told then what it is
        return None


def _read_blocks(file: RangeFile | FileIO, plan: Callable[[Header], Excerpt]) -> Reading | None:
    flac = parse_flac(file)
    if flac is None:
        return None
    excerpt = plan(flac.header)
    frames = flac.read(excerpt.start, excerpt.stop)
    return None if frames is None else Reading(to_mono(frames), flac.header, excerpt)


@contextmanager
def open_source(located: LocatedSource) -> Iterator[soundfile.SoundFile]:
    """A source file, open.

    Raises:
        SourceError: one of its kinds, if it cannot be opened, or later if its bytes cannot be had.
    """
    with _open_located(located) as opened, open_file(opened) as file:
        yield file


@contextmanager
def _open_located(located: LocatedSource) -> Iterator[str | RangeFile | IO[bytes]]:
    """What libsndfile can read; raises a `SourceError` if its bytes cannot be had, also later."""
    opened = located.open()
    if isinstance(opened, str):
        yield opened
        return
    # while bytes are waited for, which may take long, a `RangeFile` keeps the exception
    with interrupts_held_back(unless=lambda: isinstance(opened, RangeFile) and opened.is_waiting):
        try:
            yield opened
        except Exception:
            _raise_error_of(opened)  # what libsndfile saw was an early end
            raise
        _raise_error_of(opened)


def open_file(opened: str | RangeFile | IO[bytes]) -> soundfile.SoundFile:
    """A local path, or what can be read and sought, opened by libsndfile.

    Raises:
        SourceError: one of its kinds, which says why it cannot be.
    """
    try:
        # soundfile makes UTF-8 of a path, which not every path is
        return _SourceFile(os.fsencode(opened) if isinstance(opened, str) else opened)
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError) as error:
        raise _classify(opened, error) from None


def _raise_error_of(opened: RangeFile | IO[bytes]) -> None:
    if isinstance(opened, RangeFile) and opened.error is not None:
        raise opened.error from None


class _SourceFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read once.

    After every read, `soundfile` seeks to the place where it is. In FLAC that decodes a frame again, 5 % of the time,
    and fails at the end of a stream of unknown length. It leaves that out where a file cannot be sought.
    """

    def seekable(self) -> bool:
        return False


def _read_frames(file: soundfile.SoundFile, excerpt: Excerpt) -> npt.NDArray[Any]:
    """The planned frames, (frames, channels) of int16 or float32."""
    # libsndfile takes five times as long as numpy to make float of 16-bit integers
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    first = excerpt.start if file.subtype in SEEKABLE_SUBTYPES else 0
    wanted = f"frames {excerpt.start} to {excerpt.stop}"
    if file.format == "OGG":
        damage = find_damage(file.name, excerpt.stop, file.samplerate)
        if damage is not None:
            raise TruncatedSourceError(f"{wanted} cannot be decoded ({damage})")
    try:
        file.seek(first)
        frames: npt.NDArray[Any] = file.read(excerpt.stop - first, dtype=dtype, always_2d=True)[excerpt.start - first :]
    except soundfile.LibsndfileError as error:
        reason = _describe(error) or "the stream ends"
        raise TruncatedSourceError(f"{wanted} cannot be decoded ({reason})") from None
    missing = excerpt.stop - excerpt.start - len(frames)
    if missing:
        raise TruncatedSourceError(f"of {wanted} the last {missing} are not there")
    if dtype == "float32" and not _is_mixable(frames):
        raise NonFiniteSourceError(f"{wanted} have samples that are NaN, infinite or beyond {MAX_GAIN:g}")
    return frames


def _is_mixable(frames: npt.NDArray[np.float32]) -> bool:
    """Whether samples are numbers that no gain a recipe may have makes infinite."""
    if not frames.size:
        return True
    with np.errstate(invalid="ignore"):
        return bool(frames.min() >= -MAX_GAIN and frames.max() <= MAX_GAIN)  # NaN is neither


def to_mono(frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The mean over channels; of (n, channels), (n,). 16-bit integers are brought to the range -1 to 1."""
    channels = frames.shape[1]
    scale = (2**-15 if frames.dtype == np.int16 else 1.0) / channels
    frames = frames.astype(np.float32, copy=False)
    # column by column: numpy's mean over a short last axis takes thirty times as long
    total: npt.NDArray[np.float32] = frames[:, 0] if channels == 1 else frames[:, 0] + frames[:, 1]
    for channel in range(2, channels):
        total += frames[:, channel]
    total *= np.float32(scale)
    return total


def resample(
    signal: npt.NDArray[np.float32], rate_in: int, rate_out: int, skip: int, length: int
) -> npt.NDArray[np.float32]:
    """Resample with soxr HQ (librosa's default) and keep `length` samples after the first `skip`.

    Example:
        >>> resample(np.zeros(32000, np.float32), 32000, 44100, skip=441, length=1000).shape
        (1000,)
    """
    if rate_in != rate_out and len(signal):
        resampled: npt.NDArray[np.float32] = soxr.resample(signal, rate_in, rate_out, quality="HQ")
        signal = resampled
    return signal[skip : skip + length]


def _classify(opened: str | RangeFile | IO[bytes], error: Exception) -> SourceError:
    """Why libsndfile cannot open it."""
    if isinstance(opened, str):
        if not os.path.exists(opened):
            return SourceNotFoundError("there is no such file")
        if os.path.isdir(opened):
            return SourceNotFoundError("it is a folder, not a file")
        try:
            with open(opened, "rb"):
                size = os.path.getsize(opened)
        except PermissionError:
            return SourceError("there is no permission to read it")
        except OSError as reason:
            return SourceError(f"it cannot be read: {reason.strerror}")
    else:
        size = opened.seek(0, os.SEEK_END)
    if size == 0:
        return EmptySourceError("the file has no bytes")
    return SourceFormatError(f"libsndfile cannot read it ({_describe(error)})")


def _describe(error: Exception) -> str:
    text: str = getattr(error, "error_string", str(error))
    return text.strip()
