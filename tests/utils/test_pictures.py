import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hive_datasets.utils.pictures import draw_signal, draw_strips, loudest_of, spectrogram, waveform

pytest.importorskip("matplotlib")
librosa = pytest.importorskip("librosa")
SIGNALS = arrays(np.float32, st.integers(0, 3000), elements=st.floats(-2, 2, width=32))


def tone(hertz, rate=44100, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def mel(hertz):
    return librosa.hz_to_mel(hertz)


@pytest.mark.parametrize("hertz", [100, 440, 1000, 4000, 12000])
@pytest.mark.parametrize("rate", [32000, 44100])
def test_a_tone_is_a_line_at_its_height(hertz, rate):
    levels = spectrogram(tone(hertz, rate), rate, 40, 200, loudest_of(tone(hertz, rate), rate))
    heights = levels[:, 5:-5].argmax(axis=0)
    expected = 199 * (1 - mel(hertz) / mel(16000))
    # as exact as a spectrum, and a row
    tolerance = 199 * (mel(hertz + rate / 1024) - mel(hertz)) / mel(16000) + 1
    assert np.abs(heights - expected).max() <= tolerance
    assert levels.max() >= 250


def test_levels_are_decibels():
    loud = tone(1000)
    levels = [spectrogram(gain * loud, 44100, 20, 64, loudest_of(loud, 44100)).max() for gain in (1, 0.1, 0.001, 1e-5)]
    assert np.abs(np.diff([int(level) for level in levels[:3]]) - np.array([-20, -40]) * 255 / 80).max() <= 2
    assert levels[3] == 0


def test_time_goes_to_the_right():
    signal = np.concatenate([np.zeros(44100, np.float32), tone(1000)])
    levels = spectrogram(signal, 44100, 100, 64, 200.0)
    assert levels[:, :47].max() == 0
    assert levels[:, 53:].max(axis=0).min() > 100


@given(signal=SIGNALS)
def test_the_waveform_is_the_range_of_each_column(signal):
    width, height = 16, 33
    levels = waveform(signal, width, height)
    if not len(signal):
        assert not levels.any()
        return
    bounds = np.linspace(0, len(signal), width + 1).astype(int)
    for column in range(width):
        part = signal[bounds[column] : max(bounds[column + 1], bounds[column] + 1)]
        rows = np.flatnonzero(levels[:, column])
        expected = [np.rint((1 - np.clip(edge, -1, 1)) / 2 * (height - 1)) for edge in (part.max(), part.min())]
        assert [rows.min(), rows.max()] == expected
        assert len(rows) == rows.max() - rows.min() + 1


@given(signal=SIGNALS, rate=st.sampled_from([1000, 8000, 44100, 192000]))
def test_any_signal_can_be_drawn(signal, rate):
    """At any rate, without a warning of bands that nothing falls into."""
    assert draw_signal(signal, rate, loudest_of(signal, rate)).startswith(b"\x89PNG")


def test_strips():
    from matplotlib.image import imread

    png = draw_strips([tone(1000), 0 * tone(1000)], ["mixture", "Дождь, rain"], 44100)
    pixels = imread(io.BytesIO(png))
    assert pixels.shape[:2] == (180, 512)
    assert pixels[20:88, :, :3].max() > 0.9
    assert pixels[92 + 20 :, :, :3].max() < 0.05
    assert pixels[92 : 92 + 20, :120, :3].max() > 0.9  # its name
