"""Pictures of sound: waveforms and spectrograms as PNG."""

from __future__ import annotations

import functools
import importlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import HiveError

Signal = npt.NDArray[np.float32]
Levels = npt.NDArray[np.uint8]

_WINDOW_SECONDS = 0.046  # of a spectrum: 2,048 samples at 44.1 kHz
_RANGE_DB = 80.0  # from the loudest to black
_TOP_HZ = 16000.0
#: Pixels of the two parts of `draw_signal`.
_WAVE_HEIGHT, _SPECTRUM_HEIGHT = 56, 96
#: What fits on a strip.
_MAX_CHARACTERS = 90
#: Pixels of a strip of `draw_strips`, and of the gap below it.
STRIP_WIDTH, STRIP_HEIGHT, _GAP = 512, 88, 4


def draw_strips(signals: Sequence[Signal], names: Sequence[str], sampling_rate: int) -> bytes:
    """Spectrograms one below the other, each with its name, as one PNG, 512 pixels wide.

    All on one scale: the loudest of the first signal is white, 80 dB below it is black; up to 16 kHz, spaced as the
    ear does (mel bands, of librosa).

    Args:
        signals: float32 of shape (T,), the mixture first.
        names: what to write on each.
        sampling_rate: rate in Hz.

    Raises:
        HiveError: matplotlib or librosa is not installed.

    Example:
        >>> tone = np.sin(np.arange(44100, dtype=np.float32))
        >>> draw_strips([tone, tone], ["mixture", "Tone"], 44100)[1:4]
        b'PNG'
    """
    loudest = loudest_of(signals[0], sampling_rate)
    strips = [spectrogram(signal, sampling_rate, STRIP_WIDTH, STRIP_HEIGHT, loudest) for signal in signals]
    gap = np.zeros((_GAP, STRIP_WIDTH), np.uint8)
    picture = _to_image(np.concatenate([part for strip in strips for part in (strip, gap)][:-1]))
    drawing = _import("PIL.ImageDraw").Draw(picture)
    for number, name in enumerate(names):
        text = name[:_MAX_CHARACTERS].encode("latin-1", "replace").decode("latin-1")  # which every font has
        drawing.text((5, number * (STRIP_HEIGHT + _GAP) + 3), text, fill=255, stroke_width=2, stroke_fill=0)
    return _to_png(picture)


def draw_signal(signal: Signal, sampling_rate: int, loudest: float, width: int = 640) -> bytes:
    """The waveform of a signal above its spectrogram, as PNG; on the scale of a signal that `loudest_of` is told of.

    Raises:
        HiveError: matplotlib or librosa is not installed.
    """
    parts = [
        waveform(signal, width, _WAVE_HEIGHT),
        spectrogram(signal, sampling_rate, width, _SPECTRUM_HEIGHT, loudest),
    ]
    return _to_png(_to_image(np.concatenate(parts)))


def loudest_of(signal: Signal, sampling_rate: int) -> float:
    """The largest power in the spectrogram of a signal."""
    return float(_bands(signal, sampling_rate, STRIP_WIDTH, STRIP_HEIGHT).max())


def can_draw() -> bool:
    """Whether what draws is installed."""
    try:
        _palette()
        _import("librosa")
    except HiveError:
        return False
    return True


def place_frequencies(sampling_rate: int) -> list[tuple[str, float]]:
    """What to write beside a picture of `draw_signal`: frequencies, and how far down they are, from 0 to 1.

    Example:
        >>> place_frequencies(44100)
        [('16k', 0.37), ('4k', 0.6), ('1k', 0.83)]
    """
    to_mel, top = _import("librosa").hz_to_mel, _top_of(sampling_rate)
    share = _SPECTRUM_HEIGHT / (_WAVE_HEIGHT + _SPECTRUM_HEIGHT)
    marks = {"16k": 16000, "8k": 8000, "4k": 4000, "1k": 1000}
    return [
        (name, round(1 - share * float(to_mel(hertz) / to_mel(top)), 2))
        for name, hertz in marks.items()
        if hertz <= top and (name != "8k" or top < _TOP_HZ)
    ]


def spectrogram(signal: Signal, sampling_rate: int, width: int, height: int, loudest: float) -> Levels:
    """Levels 0 to 255 of shape (height, width), high frequencies at the top.

    Example:
        >>> low, high = (np.sin(2 * np.pi * hz * np.arange(44100) / 44100).astype(np.float32) for hz in (200, 9000))
        >>> [int(spectrogram(tone, 44100, 10, 64, 500.0)[:, 5].argmax()) for tone in (low, high)]
        [60, 9]
    """
    bands = _bands(signal, sampling_rate, width, height)
    decibels = _import("librosa").power_to_db(bands[::-1], ref=max(loudest, 1e-9), amin=1e-20, top_db=None)
    levels: Levels = np.clip((decibels / _RANGE_DB + 1) * 255, 0, 255).astype(np.uint8)
    return levels


def waveform(signal: Signal, width: int, height: int) -> Levels:
    """The range of the samples of each column, at full scale -1 to 1: levels of shape (height, width), 0 or 200.

    Example:
        >>> waveform(np.array([0, 0.5, -1, -1], np.float32), 2, 5).tolist()
        [[0, 0], [200, 0], [200, 0], [0, 0], [0, 200]]
    """
    if not len(signal):
        return np.zeros((height, width), np.uint8)
    bounds = np.linspace(0, len(signal), width + 1).astype(int)[:-1]
    lowest, highest = np.minimum.reduceat(signal, bounds), np.maximum.reduceat(signal, bounds)
    rows = np.arange(height)[:, None]
    top, bottom = (np.rint((1 - np.clip(edge, -1, 1)) / 2 * (height - 1)) for edge in (highest, lowest))
    levels: Levels = np.where((rows >= top) & (rows <= bottom), np.uint8(200), np.uint8(0))
    return levels


def _bands(signal: Signal, sampling_rate: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """Powers of shape (height, width): mel bands, low ones first, at as many moments."""
    librosa = _import("librosa")
    window = max(1024, 1 << round(np.log2(_WINDOW_SECONDS * sampling_rate)))  # no band is without a bin
    padded = np.pad(signal, (0, max(0, window - len(signal))))  # of less, librosa warns
    hop = max(1, len(padded) // width)
    options = {"n_fft": window, "hop_length": hop, "n_mels": height, "fmax": _top_of(sampling_rate)}
    bands = librosa.feature.melspectrogram(y=padded, sr=sampling_rate, pad_mode="constant", **options)
    moments = np.linspace(0, len(signal) / hop, width, endpoint=False).astype(int)
    found: npt.NDArray[np.float32] = bands[:, moments]
    return found


def _top_of(sampling_rate: int) -> float:
    return min(_TOP_HZ, sampling_rate / 2)


def _to_image(levels: Levels) -> Any:
    picture = _import("PIL.Image").fromarray(levels)
    picture.putpalette(_palette())  # an index a pixel: a third of the bytes of colours
    return picture


def _to_png(picture: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


@functools.cache
def _palette() -> bytes:
    colours = _import("matplotlib").colormaps["magma"](np.arange(256), bytes=True)
    return bytes(colours[:, :3].tobytes())


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise HiveError("pictures need matplotlib and librosa: pip install 'hive-datasets[plot]'") from None
