"""What is looked at in one file: its header, or every frame that is needed of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import EmptySourceError, SourceError, SourceNotFoundError, SourceUnreachableError, describe
from ..mixing.planning import END_TOLERANCE
from ..mixing.reading import SEEKABLE_SUBTYPES, open_source
from ..sources.catalogue import LocatedSource

#: How closely to look, the quickest first.
LEVELS = ("exists", "header", "decode")
#: Frames decoded at once.
_BLOCK_FRAMES = 1 << 20


#: A fault of one crop: its start and end in seconds, as `Needs.crops` has them; what is wrong; the same in words.
Fault = tuple[float, float, str, str]


class Facts(NamedTuple):
    """What the header of a file says, whatever any metadata needs of it.

    Attributes:
        status: "ok", or what is wrong: "missing", "unreachable", "unreadable", "empty".
        detail: the same in words.
        sampling_rate, channels, frames: 0 where there is no header.
    """

    status: str
    detail: str = ""
    sampling_rate: int = 0
    channels: int = 0
    frames: int = 0

    @property
    def is_lasting(self) -> bool:
        """Whether it will be the same the next time, as long as the file is; a connection may only have been broken."""
        return self.status not in ("missing", "unreachable")


def check_header(located: LocatedSource) -> Facts:
    """Read a file's header."""
    try:
        with open_source(located) as file:
            return _facts(file)
    except Exception as error:  # one file, however odd, must not end a check of a million
        return _failure(error)


def check_frames(located: LocatedSource, crops: npt.NDArray[np.float64]) -> tuple[Facts, list[Fault]]:
    """Decode all that is needed of a file.

    Args:
        located: the file.
        crops: float64 of shape (n, 4), in seconds: what to read, from and to, and the crop in it, from and to.

    Returns:
        the header's facts, and a fault ("truncated", "silent" or "non_finite") for every crop that has one.
    """
    try:
        with open_source(located) as file:
            facts = _facts(file)
            return facts, _find_faults(located, file, crops) if facts.status == "ok" else []
    except Exception as error:
        return _failure(error), []


def _facts(file: soundfile.SoundFile) -> Facts:
    if file.frames == 0:
        return Facts("empty", "it has a header, but no frames", file.samplerate, file.channels)
    return Facts("ok", "", file.samplerate, file.channels, file.frames)


def _failure(error: Exception) -> Facts:
    if isinstance(error, SourceUnreachableError):
        return Facts("unreachable", error.message)
    statuses = {SourceNotFoundError: "missing", EmptySourceError: "empty", SourceError: "unreachable"}
    if isinstance(error, SourceError):
        return Facts(statuses.get(type(error), "unreadable"), error.message)
    return Facts("unreachable" if isinstance(error, OSError) else "unreadable", describe(error))


def _find_faults(located: LocatedSource, file: soundfile.SoundFile, crops: npt.NDArray[np.float64]) -> list[Fault]:
    """Decode every frame once; where that fails, each crop by itself, to tell the ones that are whole."""
    frames = np.minimum((crops * file.samplerate).astype(np.int64), file.frames)
    if file.subtype not in SEEKABLE_SUBTYPES:  # decoded from the start, then, also when it is mixed
        frames[:, 0] = 0
    faults = []
    for start, stop in _merge(frames[:, :2]):
        inside = np.flatnonzero((frames[:, 0] >= start) & (frames[:, 1] <= stop))
        found = _decode(file, start, stop, frames[inside])
        if any(found):
            found = [_decode_anew(located, frames[index]) for index in inside]
        faults += [(*crops[index, 2:].tolist(), *fault) for index, fault in zip(inside, found, strict=True) if fault]
    return faults


def _decode_anew(located: LocatedSource, crop: npt.NDArray[np.int64]) -> tuple[str, str] | None:
    """Decode one crop of a file opened for it: libsndfile may not go on after it has met damage."""
    with open_source(located) as file:
        return _decode(file, crop[0], crop[1], crop[None])[0]


def _decode(
    file: soundfile.SoundFile, start: int, stop: int, crops: npt.NDArray[np.int64]
) -> list[tuple[str, str] | None]:
    """Decode frames `start` to `stop`; what is wrong with each crop, in frames, if anything is."""
    has_sound = np.zeros(len(crops), dtype=bool)
    try:
        file.seek(start)
        for first in range(start, stop, _BLOCK_FRAMES):
            last = min(first + _BLOCK_FRAMES, stop)
            block = file.read(last - first, dtype="float32", always_2d=True)
            if len(block) < last - first:
                return [("truncated", f"it ends at frame {first + len(block)}, and {stop} are needed")] * len(crops)
            if not np.isfinite(block).all():
                return [("non_finite", f"NaN or infinity in frames {first} to {last}")] * len(crops)
            counts = np.concatenate([[0], np.cumsum(block.any(axis=1))])
            bounds = np.clip(crops[:, 2:] - first, 0, len(block))
            has_sound |= counts[bounds[:, 1]] > counts[bounds[:, 0]]
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip() or "the stream ends"
        return [("truncated", f"frames {start} to {stop} cannot be decoded ({reason})")] * len(crops)
    # a crop that lies past the end is for the rows to judge
    silent = ~has_sound & (crops[:, 3] > crops[:, 2])
    detail = "nothing but zeros in frames {} to {}"
    return [
        ("silent", detail.format(*crop[2:].tolist())) if is_silent else None
        for crop, is_silent in zip(crops, silent, strict=True)
    ]


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
