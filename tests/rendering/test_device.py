"""Resampling and mixing on a device: PyTorch's CPU here, with the code that runs on CUDA."""

import numpy as np
import pytest
import soxr

from hive_datasets.mixing.planning import Excerpt

torch = pytest.importorskip("torch")
from hive_datasets.rendering.device import DeviceMixer, WeightedSignal, can_resample, find_device  # noqa: E402

RATES = [(32000, 44100), (48000, 44100), (44100, 32000), (44100, 16000), (16000, 44100), (44100, 48000), (22050, 44100)]


def decibels(signal, difference):
    return 10 * np.log10(np.sum(signal.astype(float) ** 2) / np.sum(difference.astype(float) ** 2))


def resample(signal, rate_in, rate_out):
    length = len(soxr.resample(signal, rate_in, rate_out, quality="HQ"))
    sources = torch.full((1, 1, length), torch.nan)
    excerpt = Excerpt(0, len(signal), 0, length, length)
    DeviceMixer(torch.device("cpu")).add([WeightedSignal(signal, rate_in, excerpt, 1.0, 0, 0)], sources, rate_out)
    return sources[0, 0].numpy()


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("kind", ["noise", "sweep", "loud start"])
def test_it_agrees_with_soxr(rate_in, rate_out, kind):
    """To 120 dB, over the whole band; 90 are asked for below 0.9 of the lower Nyquist frequency."""
    time = np.arange(2 * rate_in) / rate_in
    highest = 0.45 * min(rate_in, rate_out)
    signal = {
        "noise": np.random.default_rng(0).normal(0, 0.1, len(time)),
        "sweep": np.sin(2 * np.pi * (20 * time + (highest - 20) / 4 * time**2)),
        "loud start": np.cos(2 * np.pi * 1000 * time),
    }[kind].astype(np.float32)
    expected = soxr.resample(signal, rate_in, rate_out, quality="HQ")
    assert decibels(expected, resample(signal, rate_in, rate_out) - expected) > 120


@pytest.mark.parametrize("frames", [1, 2, 100, 319, 320, 321, 10_679])
def test_any_length(frames):
    signal = np.random.default_rng(frames).normal(0, 0.1, frames).astype(np.float32)
    expected = soxr.resample(signal, 32000, 44100, quality="HQ")
    np.testing.assert_allclose(resample(signal, 32000, 44100), expected, atol=1e-6)


def test_signals_of_all_rates_and_lengths_in_one_batch():
    random = np.random.default_rng(0)
    signals, expected = [], np.zeros((4, 3, 5000), np.float32)
    for row in range(4):
        for column in range(3):
            rate = [32000, 44100, 48000][(row + column) % 3]
            signal = random.normal(0, 0.1, random.integers(2000, 9000)).astype(np.float32)
            skip, length, gain = (
                int(random.integers(0, 900)),
                int(random.integers(100, 5000)),
                float(random.uniform(-2, 2)),
            )
            resampled = signal if rate == 44100 else soxr.resample(signal, rate, 44100, quality="HQ")
            kept = resampled[skip : skip + length] * gain
            expected[row, column, : len(kept)] = kept
            excerpt = Excerpt(0, len(signal), skip, length, 0)
            signals.append(WeightedSignal(signal, rate, excerpt, gain, row, column))
    sources = torch.zeros(4, 3, 5000)
    DeviceMixer(torch.device("cpu")).add(signals, sources, 44100)
    np.testing.assert_allclose(sources.numpy(), expected, atol=2e-6)


def test_rates_without_a_period_are_left_to_soxr():
    assert can_resample(44100, 44100) and can_resample(8000, 44100) and not can_resample(44101, 44100)


def test_no_cuda_is_a_clear_error():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RuntimeError, match=r'device=.cuda.: PyTorch .* finds no CUDA device.*or use device="cpu"'):
        find_device("cuda")


def test_no_torch_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ImportError, match=r'needs PyTorch: pip install "hive-datasets\[torch\]"'):
        find_device("cuda")
