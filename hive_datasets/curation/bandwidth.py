"""Telling up to which frequency a recording reaches.

What was once recorded, coded or resampled at a lower rate has nothing above half that rate, whatever rate its file has.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..backends.protocols import Clip

#: Samples of a spectrum, and from one to the next.
_WINDOW, _HOP = 4096, 2048
#: Spectra that are made at once, so that memory stays flat.
_AT_ONCE = 64
#: Hz over which power is averaged, so that no single line counts.
_BAND_HZ = 100.0
#: The mean square of the error of rounding to 16 bits: that of a uniform distribution over one step.
_ROUNDING = 2.0**-30 / 12
#: Times that: dither of triangular distribution makes it three, and a mean over few spectra varies.
_CLEARLY_MORE = 8.0


def measure_bandwidth(clip: Clip, floor_db: float = 80.0) -> float:
    """The frequency in Hz above which a clip is everywhere `floor_db` below its strongest band.

    What is not clearly more than the rounding of 16 bits, dithered or not, counts as nothing, whatever the clip's own
    bits. Its power spectrum is averaged over windows of 4,096 samples (Hann, half overlapping; Welch 1967), and then
    over bands of 100 Hz. 0 for digital silence.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
        >>> clip = Clip(noise, 16000)
        >>> round(measure_bandwidth(clip), -2), round(measure_bandwidth(Clip(clip.resampled(44100), 44100)), -2)
        (8000.0, 7900.0)
    """
    power = _power_spectrum(clip)
    bins = max(1, round(_BAND_HZ * _WINDOW / clip.sampling_rate))
    starts = np.arange(0, len(power), bins)
    bands = np.add.reduceat(power, starts) / np.diff([*starts, len(power)])
    loud = np.flatnonzero(bands > max(bands.max() * 10 ** (-floor_db / 10), _CLEARLY_MORE))
    if not len(loud):
        return 0.0
    top = min((loud[-1] + 1) * bins, len(power) - 1)
    return float(top * clip.sampling_rate / _WINDOW)


def _power_spectrum(clip: Clip) -> npt.NDArray[np.float64]:
    """The mean power of each frequency, as a multiple of what rounding to 16 bits has there."""
    samples = np.pad(clip.samples, (0, max(0, _WINDOW - len(clip.samples))))
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    hann = np.hanning(_WINDOW).astype(np.float32)
    total = np.zeros(_WINDOW // 2 + 1)
    for start in range(0, len(windows), _AT_ONCE):
        total += (np.abs(np.fft.rfft(windows[start : start + _AT_ONCE] * hann, axis=1)) ** 2).sum(axis=0)
    total /= len(windows) * float(np.sum(hann**2)) * _ROUNDING
    return total
