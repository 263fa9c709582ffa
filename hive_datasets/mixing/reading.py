"""Reading a source's excerpt: only the frames that are needed, mono, resampled."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..errors import (
    ChunkOutOfRangeError,
    EmptySourceError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    TruncatedSourceError,
)
from ..recipe import Source
from .flac import read_flac
from .planning import Excerpt, Header, OutOfRangeError, plan_excerpt

#: Encodings in which libsndfile seeks to the exact sample. The others (Vorbis, Opus, MP3, ADPCM, ...) are decoded
#: from the start.
SEEKABLE_SUBTYPES = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})


def read_excerpt(
    location: str, source: Source, sampling_rate: int, num_samples: int, mix_id: str
) -> npt.NDArray[np.float32]:
    """Read what a recipe needs of one source.

    Args:
        location: the file.
        source: which seconds of it.
        sampling_rate: rate in Hz to resample to.
        num_samples: length of the mixture in samples at that rate.
        mix_id: the mixture, for error messages.

    Returns:
        float32 of shape (at most `num_samples`,): the excerpt before any gain. What is missing of
        `num_samples` is silence.

    Raises:
        SourceError: one of its kinds, if the file does not have that audio.
    """
    try:
        with _open(location) as file:
            rate = file.samplerate
            frames, excerpt = _read_frames(file, source, sampling_rate, num_samples)
    except SourceError as error:
        raise _explain(error, location, source, mix_id) from None
    return resample(_to_mono(frames), rate, sampling_rate, excerpt.skip, excerpt.length)


class _SourceFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read once.

    After every read, `soundfile` seeks to the place where it is. In FLAC that decodes a frame again, 5 % of the time,
    and fails at the end of a stream of unknown length. It leaves that out where a file cannot be sought.
    """

    def seekable(self) -> bool:
        return False


def _open(location: str) -> _SourceFile:
    try:
        return _SourceFile(location)
    except soundfile.LibsndfileError as error:
        raise _classify(location, error) from None


def _read_frames(
    file: soundfile.SoundFile, source: Source, sampling_rate: int, num_samples: int
) -> tuple[npt.NDArray[Any], Excerpt]:
    """The planned frames, (frames, channels) of int16 or float32, and the plan."""
    # A stream whose header was never completed counts as endless; the chunk is then taken at its word.
    header = Header(file.samplerate, file.frames, file.channels)
    if header.frames == 0:
        raise EmptySourceError("it has a header, but no frames")
    try:
        excerpt = plan_excerpt(source, header, sampling_rate, num_samples)
    except OutOfRangeError as error:
        raise ChunkOutOfRangeError(f"{error} (10 frames past the end are tolerated)") from None
    # libsndfile takes five times as long as numpy to make float of 16-bit integers
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    first = excerpt.start if file.subtype in SEEKABLE_SUBTYPES else 0
    wanted = f"frames {excerpt.start} to {excerpt.stop}"
    try:
        if file.format == "FLAC" and dtype == "int16":
            frames = read_flac(file, excerpt.start, excerpt.stop)
            if frames is not None:
                return frames, excerpt
        file.seek(first)
        frames = file.read(excerpt.stop - first, dtype=dtype, always_2d=True)[excerpt.start - first :]
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip() or "the stream ends"
        raise TruncatedSourceError(f"{wanted} cannot be decoded ({reason})") from None
    missing = excerpt.stop - excerpt.start - len(frames)
    if missing:
        raise TruncatedSourceError(f"of {wanted} the last {missing} are not there")
    return frames, excerpt


def _to_mono(frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
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


def _classify(location: str, error: soundfile.LibsndfileError) -> SourceError:
    if not os.path.exists(location):
        return SourceNotFoundError("there is no such file")
    if os.path.isdir(location):
        return SourceNotFoundError("it is a folder, not a file")
    if not os.access(location, os.R_OK):
        return SourceError("there is no permission to read it")
    if os.path.getsize(location) == 0:
        return EmptySourceError("the file has no bytes")
    return SourceFormatError(f"libsndfile cannot read it ({error.error_string.strip()})")


_HINTS = {
    SourceNotFoundError: "Check that the corpus is complete and that its root is right",
    EmptySourceError: "Fetch the file again",
    TruncatedSourceError: "The file is cut short or damaged: fetch it again",
    ChunkOutOfRangeError: "The authors had another version of this file, or it is cut short: fetch it again",
    SourceFormatError: "Convert it to WAV or FLAC, or fetch it again if it is damaged",
}


def _explain(error: SourceError, location: str, source: Source, mix_id: str) -> SourceError:
    """The same error, with the mixture, the source, the path and the location in its message."""
    hint = _HINTS.get(type(error), "Check the file and its folders")
    if isinstance(error, SourceNotFoundError):
        missing = _first_missing_folder(location)
        if missing:
            hint = f"The folder {missing} does not exist: check the root that is configured for this corpus"
    return type(error)(
        f"mixture {mix_id}, source {source.source_id}: {source.path!r} cannot be read from {location}: "
        f"{error.message}. {hint}.",
        mix_id=mix_id,
        source_id=source.source_id,
        path=source.path,
        location=location,
    )


def _first_missing_folder(location: str) -> str | None:
    missing, folder = None, os.path.dirname(location)
    while folder and not os.path.isdir(folder) and folder != os.path.dirname(folder):
        missing, folder = folder, os.path.dirname(folder)
    return missing
