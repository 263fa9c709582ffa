"""soxr's resampler as a filter bank, measured.

A rational resampler is linear, and periodic: with ``g = gcd(in, out)``, ``p = in / g`` and ``q = out / g``, output
sample ``k * q + r`` is a sum of input frames around ``k * p``, weighted by numbers that depend on ``r`` only. So the
answers of soxr to one impulse on each of ``p`` frames are all there is to know; and the resampler is one convolution,
of ``q`` filters, with a stride of ``p``. It agrees with soxr to float precision, in the transition band and above it
too, but for the first few samples of a signal, which soxr computes otherwise: see `HEAD`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

#: Frames, at the lower of the two rates, that a filter reaches to each side; beyond, soxr HQ's is below 1e-7.
REACH = 128
#: Samples at the start of a signal that differ: soxr's first four or so are not those of a signal after silence.
HEAD = 32
#: Beyond such a period the filters would take hundreds of megabytes (and soxr interpolates them).
MAX_PERIOD = 4096


@dataclass(frozen=True)
class Kernel:
    """A filter bank that resamples.

    Attributes:
        weights: float32 of shape (q, reach + p + reach): output ``k * q + r`` is
            ``weights[r] @ signal[k * p - reach : k * p + p + reach]``, where frames outside of the signal are 0.
        period_in, period_out: p and q.
        reach: frames before and after a period.
    """

    weights: npt.NDArray[np.float32]
    period_in: int
    period_out: int
    reach: int


def is_periodic(rate_in: int, rate_out: int) -> bool:
    """Whether a filter bank of reasonable size resamples between two rates in Hz.

    Example:
        >>> is_periodic(48000, 44100), is_periodic(44101, 44100)
        (True, False)
    """
    return max(rate_in, rate_out) // math.gcd(rate_in, rate_out) <= MAX_PERIOD


@functools.lru_cache(maxsize=16)
def measure_kernel(rate_in: int, rate_out: int) -> Kernel:
    """The filter bank by which soxr HQ resamples between two rates in Hz.

    Example:
        >>> measure_kernel(32000, 44100).weights.shape
        (441, 576)
    """
    divisor = math.gcd(rate_in, rate_out)
    p, q = rate_in // divisor, rate_out // divisor
    reach = math.ceil(REACH * max(1.0, rate_in / rate_out))
    spacing = -(-(2 * reach + p) // p)  # periods from one impulse to the next, so that their answers do not meet
    impulses = np.zeros((p + 2) * spacing * p)
    impulses[(np.arange(p) + 1) * spacing * p + np.arange(p)] = 1.0
    answers = soxr.resample(impulses, rate_in, rate_out, quality="HQ")
    # the frame at column i of the weights lies i - reach frames after the start of the period that is computed; that
    # frame's answer was measured with the impulse at its place in a period, so many periods later
    place = (np.arange(2 * reach + p) - reach) % p
    later = (place + reach - np.arange(2 * reach + p)) // p
    samples = ((place + 1) * spacing + later) * q + np.arange(q)[:, None]
    return Kernel(answers[samples].astype(np.float32), p, q, reach)


def num_resampled(frames: int, rate_in: int, rate_out: int) -> int:
    """How many samples soxr makes of a signal: the nearest whole number.

    Example:
        >>> num_resampled(95900, 32000, 44100), num_resampled(96000, 32000, 44100)
        (132162, 132300)
    """
    return (2 * frames * rate_out + rate_in) // (2 * rate_in)


def num_head_frames(rate_in: int, rate_out: int) -> int:
    """How many frames the first `HEAD` samples of a resampled signal depend on."""
    return math.ceil((HEAD + REACH) * max(1.0, rate_in / rate_out)) + REACH


def resample_head(signal: npt.NDArray[np.float32], rate_in: int, rate_out: int) -> npt.NDArray[np.float32]:
    """The first samples of a resampled signal, by soxr itself, of shape (at most `HEAD`,)."""
    frames = num_head_frames(rate_in, rate_out)
    head: npt.NDArray[np.float32] = soxr.resample(signal[:frames], rate_in, rate_out, quality="HQ")[:HEAD]
    return head
