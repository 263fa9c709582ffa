"""From a source of a recipe and the header of its file to the frames that must be read. Pure arithmetic.

The authors read the whole chunk, resample all of it and cut the crop out. A resampler's output depends on input
only within the length of its filter, and a rational resampler's filter phases repeat: with ``g = gcd(in, out)``,
input frame ``k * in / g`` falls on output sample ``k * out / g``. So it is enough to read the crop and a margin on
both sides, from a multiple of ``in / g``; the result equals theirs to float precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..recipe import Source

#: A chunk may end this many frames past the end of its file, and is then cut short (the authors' tolerance).
END_TOLERANCE = 10
#: Frames, at the lower of the two rates, on each side of the crop. Errors are at float precision from 100 on.
MARGIN = 256
#: Beyond such a period soxr interpolates its filter phases, and only the whole chunk gives the same samples.
MAX_PERIOD = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an audio file says: rate in Hz, frames, channels."""

    sampling_rate: int
    frames: int
    channels: int


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Which frames to read, and what of them, once resampled, to keep.

    Attributes:
        start, stop: frames of the file to read.
        skip: samples to drop from the start of the resampled frames.
        length: samples to keep after them; fewer may come out, the rest is silence.
        chunk_samples: samples that the whole chunk has, resampled.
    """

    start: int
    stop: int
    skip: int
    length: int
    chunk_samples: int


class OutOfRangeError(ValueError):
    """The chunk is not inside the file; the message says how."""


def plan_excerpt(source: Source, header: Header, sampling_rate: int, num_samples: int) -> Excerpt:
    """Plan the reading of one source.

    Args:
        source: the source.
        header: its file's header.
        sampling_rate: rate in Hz of the mixture to make.
        num_samples: length of the mixture in samples at that rate.

    Raises:
        OutOfRangeError: the chunk ends more than `END_TOLERANCE` frames past the end of the file, or is empty.

    Example:
        >>> source = Source("s1", "a/b.wav", "Bark", 1.0, 3.0, 10.0, 20.0, 1.0, 0.0, 1.0)
        >>> plan_excerpt(source, Header(16000, 480000, 1), 16000, 32000)
        Excerpt(start=176000, stop=208000, skip=0, length=32000, chunk_samples=160000)
    """
    return plan_samples(source, header, sampling_rate, *source.crop_samples(sampling_rate, num_samples))


def plan_samples(source: Source, header: Header, sampling_rate: int, start: int, stop: int) -> Excerpt:
    """As `plan_excerpt`, for the samples `start` to `stop` of the resampled chunk."""
    # Truncated, not rounded, wherever the authors do: it decides the sample.
    chunk_start = int(source.chunk_start_second * header.sampling_rate)
    chunk_stop = int(source.chunk_end_second * header.sampling_rate)
    past_end = chunk_stop - header.frames
    if past_end > END_TOLERANCE:
        raise OutOfRangeError(f"its chunk ends at frame {chunk_stop}, {past_end} past the last of {header.frames}")
    chunk_frames = min(chunk_stop, header.frames) - chunk_start
    if chunk_frames <= 0:
        raise OutOfRangeError(f"its chunk, frames {chunk_start} to {chunk_stop} of {header.frames}, is empty")

    # librosa's length of a resampled signal
    chunk_samples = math.ceil(chunk_frames * (sampling_rate / header.sampling_rate))
    stop = min(stop, chunk_samples)
    if stop <= start:
        return Excerpt(chunk_start, chunk_start, 0, 0, chunk_samples)
    first, last, skip = _needed_frames(start, stop, chunk_frames, header.sampling_rate, sampling_rate)
    return Excerpt(chunk_start + first, chunk_start + last, skip, stop - start, chunk_samples)


def _needed_frames(
    crop_start: int, crop_stop: int, chunk_frames: int, rate_in: int, rate_out: int
) -> tuple[int, int, int]:
    """Frames of the chunk that samples `crop_start` to `crop_stop` depend on, and the samples before the crop."""
    if rate_in == rate_out:
        return crop_start, min(crop_stop, chunk_frames), 0
    divisor = math.gcd(rate_in, rate_out)
    period_in, period_out = rate_in // divisor, rate_out // divisor
    if max(period_in, period_out) > MAX_PERIOD:
        return 0, chunk_frames, crop_start
    margin = MARGIN * max(1, math.ceil(rate_in / rate_out))
    periods = max(0, (crop_start * period_in // period_out - margin) // period_in)
    last = min(chunk_frames, -(-crop_stop * period_in // period_out) + margin)
    return periods * period_in, last, crop_start - periods * period_out
