"""Separators without a model: what every table of results should begin and end with.

Their masks are over a short-time Fourier transform of scipy: a Hann window of the power of two nearest to 46 ms (2,048
samples at 44.1 and 32 kHz, 512 at 8 kHz), moved on by a quarter of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backends.extras import import_extra
from .batches import Batch

Estimates = npt.NDArray[np.float32]
#: Of the window, in seconds; and how many times it is moved on within its length.
_WINDOW_SECONDS, _OVERLAP = 2048 / 44100, 4


def repeat_mixture(batch: Batch) -> Estimates:
    """The mixture as it is: no improvement at all."""
    return batch.mixtures


def give_silence(batch: Batch) -> Estimates:
    """Silence."""
    return np.zeros_like(batch.mixtures)


def divide_mixture(batch: Batch) -> Estimates:
    """The mixture divided by the number of its sources: what knows only that."""
    counts = np.array([target.num_sources for target in batch.targets], np.float32)
    return batch.mixtures / counts[:, None]


def apply_ratio_mask(batch: Batch) -> Estimates:
    """The mixture times the ideal ratio mask, sqrt(|S|^2 / (|S|^2 + |R|^2)) of the target S and the rest R.

    Wang, Narayanan and Wang, "On training targets for supervised speech separation" (2014), with an exponent of 0.5.
    """
    return _apply(batch, lambda target, rest: np.sqrt(target / np.maximum(target + rest, 1e-30)))


def apply_binary_mask(batch: Batch) -> Estimates:
    """The mixture where the target is louder than the rest, and nothing elsewhere: the ideal binary mask at 0 dB."""
    return _apply(batch, lambda target, rest: (target > rest).astype(np.float64))


#: By the names that a command line has for them.
BASELINES: dict[str, Callable[[Batch], Estimates]] = {
    "mixture": repeat_mixture,
    "silence": give_silence,
    "mixture-divided": divide_mixture,
    "ideal-binary-mask": apply_binary_mask,
    "ideal-ratio-mask": apply_ratio_mask,
}


def _apply(batch: Batch, make_mask: Callable[[Any, Any], Any]) -> Estimates:
    """Row by row: spectra take ten times the memory of signals."""
    transform = _transform(batch.sampling_rate)
    length = batch.mixtures.shape[1]
    estimates = np.empty_like(batch.mixtures)
    for row, (mixture, reference) in enumerate(zip(batch.mixtures, batch.references, strict=True)):
        padded = max(length, transform.m_num)  # of less, there is no spectrum
        target, rest = (
            np.abs(transform.stft(np.pad(signal.astype(np.float64), (0, padded - length)))) ** 2
            for signal in (reference, mixture - reference)
        )
        spectrum = transform.stft(np.pad(mixture.astype(np.float64), (0, padded - length)))
        estimates[row] = transform.istft(make_mask(target, rest) * spectrum, k1=padded)[:length]
    return estimates


@functools.cache
def _transform(sampling_rate: int) -> Any:
    signal = import_extra("scipy.signal", "evaluate")
    size = 1 << max(4, round(np.log2(_WINDOW_SECONDS * sampling_rate)))
    window = signal.get_window("hann", size)
    return signal.ShortTimeFFT(window, size // _OVERLAP, sampling_rate)
