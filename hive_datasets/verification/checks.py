"""What is looked at in one file: its header, or every frame that is needed of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import EmptySourceError, SourceError, SourceNotFoundError, TruncatedSourceError
from ..mixing.planning import END_TOLERANCE
from ..mixing.reading import open_source
from ..sources.catalogue import LocatedSource
from ..sources.ranges import describe

#: How closely to look, the quickest first.
LEVELS = ("exists", "header", "decode")
#: Frames decoded at once.
_BLOCK_FRAMES = 1 << 20


class Facts(NamedTuple):
    """What a file is, whatever any metadata needs of it.

    Attributes:
        status: "ok", or what is wrong: "missing", "unreadable", "empty", "truncated", "silent", "non_finite".
        detail: the same in words.
        sampling_rate, channels, frames: of its header; 0 where there is none.
    """

    status: str
    detail: str = ""
    sampling_rate: int = 0
    channels: int = 0
    frames: int = 0


def check_header(located: LocatedSource) -> Facts:
    """Read a file's header."""
    try:
        with open_source(located) as file:
            return _facts(file)
    except Exception as error:  # one file, however odd, must not end a check of a million
        return _failure(error)


def check_frames(located: LocatedSource, crops: npt.NDArray[np.float64]) -> Facts:
    """Decode all that is needed of a file.

    Args:
        located: the file.
        crops: float64 of shape (n, 4), in seconds: what to read, from and to, and the crop in it, from and to.
    """
    try:
        with open_source(located) as file:
            facts = _facts(file)
            return facts if facts.status != "ok" else _decode(file, facts, crops)
    except Exception as error:
        return _failure(error)


def _facts(file: soundfile.SoundFile) -> Facts:
    if file.frames == 0:
        return Facts("empty", "it has a header, but no frames", file.samplerate, file.channels)
    return Facts("ok", "", file.samplerate, file.channels, file.frames)


def _failure(error: Exception) -> Facts:
    kinds: dict[type[Exception], str] = {
        SourceNotFoundError: "missing",
        EmptySourceError: "empty",
        TruncatedSourceError: "truncated",
    }
    detail = error.message if isinstance(error, SourceError) else describe(error)
    return Facts(kinds.get(type(error), "unreadable"), detail)


def _decode(file: soundfile.SoundFile, facts: Facts, crops: npt.NDArray[np.float64]) -> Facts:
    rate = facts.sampling_rate
    frames = np.minimum((crops * rate).astype(np.int64), facts.frames)
    has_sound = np.zeros(len(crops), dtype=bool)
    shape = {"sampling_rate": rate, "channels": facts.channels, "frames": facts.frames}
    for start, stop in _merge(frames[:, :2]):
        try:
            file.seek(start)
            for first in range(start, stop, _BLOCK_FRAMES):
                last = min(first + _BLOCK_FRAMES, stop)
                block = file.read(last - first, dtype="float32", always_2d=True)
                if len(block) < last - first:
                    return Facts("truncated", f"frames end at {first + len(block)}, {stop} are needed", **shape)
                if not np.isfinite(block).all():
                    return Facts("non_finite", f"NaN or infinity in frames {first} to {last}", **shape)
                _note_sound(has_sound, frames[:, 2:] - first, block)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip() or "the stream ends"
            return Facts("truncated", f"frames {start} to {stop} cannot be decoded ({reason})", **shape)
    reachable = frames[:, 3] > frames[:, 2]  # others lie past the end, which is for the rows to judge
    silent = crops[reachable & ~has_sound]
    if len(silent):
        start, stop = silent[0, 2:]
        return Facts("silent", f"nothing but zeros from {start:.2f} to {stop:.2f} s", **shape)
    return facts


def _note_sound(has_sound: npt.NDArray[np.bool_], crops: npt.NDArray[np.int64], block: npt.NDArray[np.float32]) -> None:
    """Mark the crops, in frames from the start of the block, in which there is a frame that is not zero."""
    counts = np.concatenate([[0], np.cumsum(block.any(axis=1))])
    bounds = np.clip(crops, 0, len(block))
    has_sound |= counts[bounds[:, 1]] > counts[bounds[:, 0]]


def _merge(spans: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Spans in order, those that touch as one.

    Example:
        >>> _merge(np.array([[5, 9], [0, 3], [2, 4], [7, 7]]))
        [(0, 4), (5, 9)]
    """
    merged: list[tuple[int, int]] = []
    for start, stop in sorted((int(start), int(stop)) for start, stop in spans if stop > start):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def is_too_short(
    chunk_start: npt.NDArray[np.float64],
    chunk_end: npt.NDArray[np.float64],
    sampling_rate: npt.NDArray[np.int64],
    frames: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Whether chunks, in seconds, lie outside their files, by the rule of `plan_excerpt`; False where no rate is known.

    Example:
        >>> rate, frames = np.array([44100, 44100]), np.array([441000, 441000])
        >>> is_too_short(np.zeros(2), (441000 + np.array([10.5, 11.5])) / 44100, rate, frames)
        array([False,  True])
    """
    first, stop = (chunk_start * sampling_rate).astype(np.int64), (chunk_end * sampling_rate).astype(np.int64)
    outside = (stop - frames > END_TOLERANCE) | (np.minimum(stop, frames) <= first)
    short: npt.NDArray[np.bool_] = outside & (sampling_rate > 0)
    return short
