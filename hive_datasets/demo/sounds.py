"""Generated sound events: bells, plucked strings, birds, rain, ...

Each generator takes a random state, a sampling rate in Hz and a number of samples, and returns float64 of shape
(num_samples,). `RandomState` is used because numpy guarantees its stream for ever: the demo sounds the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.float64]

_PENTATONIC = (0, 2, 4, 7, 9)


def strike(
    random: np.random.RandomState,
    rate: int,
    n: int,
    pitch: float,
    partials: Sequence[float],
    decay: float,
    every: float,
) -> Signal:
    """Struck bodies: `partials` (ratios to `pitch` in Hz), dying away, the higher the faster, every few seconds."""
    out = np.zeros(n)
    for start in _onsets(random, rate, n, every):
        t = np.arange(n - start) / rate
        note = pitch * _scale_step(random)
        for index, ratio in enumerate(partials):
            if note * ratio < 0.45 * rate:
                envelope = np.exp(-t * (1 + 0.6 * index) / decay) / (1 + index)
                out[start:] += envelope * np.sin(2 * np.pi * note * ratio * t + random.uniform(0, 2 * np.pi))
    return out


def pluck(random: np.random.RandomState, rate: int, n: int, pitch: float, decay: float, every: float) -> Signal:
    """Plucked strings, after Karplus and Strong (1983): noise that circulates through a two-point mean."""
    out = np.zeros(n)
    for start in _onsets(random, rate, n, every):
        period = round(rate / (pitch * _scale_step(random)))
        loop, length = random.uniform(-1, 1, period), n - start
        loop -= loop.mean()
        periods = []
        for _ in range(-(-length // period)):
            periods.append(loop)
            loop = decay * 0.5 * (loop + np.roll(loop, 1))
        out[start:] += np.concatenate(periods)[:length]
    return out


def chirp(
    random: np.random.RandomState,
    rate: int,
    n: int,
    low: float,
    high: float,
    length: float,
    every: float,
    repeat: int = 1,
) -> Signal:
    """Sweeps from `low` to `high` Hz, `repeat` of them in a row, at irregular times."""
    out = np.zeros(n)
    size = int(length * rate)
    phase = 2 * np.pi * np.cumsum(np.linspace(low, high, size)) / rate
    sweep = np.sin(phase) * np.hanning(size)
    for start in _onsets(random, rate, n, every):
        level = random.uniform(0.6, 1.0)
        for index in range(repeat):
            position = start + int(1.4 * size * index)
            part = sweep[: max(0, n - position)]
            out[position : position + len(part)] += level * part
    return out


def noise(
    random: np.random.RandomState, rate: int, n: int, low: float, high: float, slope: float, wave: float, depth: float
) -> Signal:
    """Noise between `low` and `high` Hz, falling by `slope` per octave, swelling every `wave` seconds by `depth`."""
    spectrum = np.fft.rfft(random.standard_normal(n))
    frequency = np.fft.rfftfreq(n, 1 / rate)
    gain = np.where((frequency >= low) & (frequency <= high), np.maximum(frequency, low) ** -slope, 0.0)
    t = np.arange(n) / rate
    swell = 1 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * t / wave + random.uniform(0, 2 * np.pi)))
    return np.fft.irfft(spectrum * gain, n) * swell


def click(
    random: np.random.RandomState, rate: int, n: int, pitch: float, length: float, every: float, jitter: float
) -> Signal:
    """Short ringing clicks, regular (a clock, `jitter` 0) or not (a fire, `jitter` 1)."""
    out = np.zeros(n)
    size = int(8 * length * rate)
    t = np.arange(size) / rate
    step, position = int(every * rate), int(random.uniform(0, every) * rate)
    while position < n:
        body = random.standard_normal(size) * 0.3 + np.sin(2 * np.pi * pitch * random.uniform(0.97, 1.03) * t)
        level = random.uniform(1 - 0.7 * jitter, 1.0)
        part = (level * body * np.exp(-t / length))[: n - position]
        out[position : position + len(part)] += part
        position += max(1, int(step * (1 + jitter * random.uniform(-0.9, 0.9))))
    return out


def tone(
    random: np.random.RandomState,
    rate: int,
    n: int,
    pitch: float,
    harmonics: int,
    tilt: float,
    vibrato: float,
    pulse: float,
) -> Signal:
    """Sustained tones with `harmonics`, `tilt` softening them, a `vibrato` in Hz, beating `pulse` times a second."""
    t = np.arange(n) / rate
    wobble = vibrato * np.sin(2 * np.pi * 5 * t) + 0.3 * vibrato * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch + wobble) / rate
    out = np.zeros(n)
    for index in range(1, harmonics + 1):
        if pitch * index < 0.4 * rate:
            out += np.sin(index * phase + random.uniform(0, 2 * np.pi)) / index**tilt
    return out * (0.55 + 0.45 * np.sin(2 * np.pi * pulse * t + random.uniform(0, 2 * np.pi)))


def _onsets(random: np.random.RandomState, rate: int, n: int, every: float) -> list[int]:
    """Irregular starts, the first at once, so that a short excerpt is never silent."""
    starts, time = [], 0.02
    while time * rate < n - 1:
        starts.append(int(time * rate))
        time += every * random.uniform(0.6, 1.4)
    return starts


def _scale_step(random: np.random.RandomState) -> float:
    return float(2 ** (_PENTATONIC[random.randint(len(_PENTATONIC))] / 12))
