"""The filter bank that soxr is."""

import numpy as np
import pytest
import soxr

from hive_datasets.rendering.kernels import HEAD, REACH, measure_kernel, num_resampled, resample_head

RATES = [(32000, 44100), (48000, 44100), (44100, 16000), (16000, 44100), (44100, 48000), (22050, 44100), (96000, 16000)]


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_it_answers_to_any_impulse_as_soxr_does(rate_in, rate_out):
    kernel = measure_kernel(rate_in, rate_out)
    p, q, reach = kernel.period_in, kernel.period_out, kernel.reach
    for place in np.random.default_rng(0).integers(10 * p + reach, 20 * p + reach, 5):
        signal = np.zeros(40 * p + 2 * reach, np.float32)
        signal[place] = 1.0
        expected = soxr.resample(signal, rate_in, rate_out, quality="HQ")
        padded = np.pad(signal, (reach, reach + p))
        blocks = [kernel.weights @ padded[k * p : k * p + p + 2 * reach] for k in range(len(signal) // p)]
        found = np.concatenate(blocks)[HEAD:]
        np.testing.assert_allclose(found, expected[HEAD : HEAD + len(found)], atol=5e-7)
        assert q * len(blocks) == len(found) + HEAD


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_nothing_lies_beyond_its_reach(rate_in, rate_out):
    signal = np.zeros(20 * rate_in // 10)
    signal[rate_in] = 1.0
    answer = np.abs(soxr.resample(signal, rate_in, rate_out, quality="HQ"))
    reach = int(REACH * max(1, rate_out / rate_in)) + 2
    answer[rate_out - reach : rate_out + reach] = 0
    assert answer.max() < 2e-7


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_the_head_is_that_of_the_whole(rate_in, rate_out):
    signal = np.random.default_rng(0).normal(0, 0.1, rate_in).astype(np.float32)
    expected = soxr.resample(signal, rate_in, rate_out, quality="HQ")[:HEAD]
    np.testing.assert_allclose(resample_head(signal, rate_in, rate_out), expected, atol=1e-7)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_the_length_is_that_of_soxr(rate_in, rate_out):
    for frames in (1, 2, 3, 5, 100, 1001, 12345, 95900):
        signal = np.zeros(frames, np.float32)
        assert num_resampled(frames, rate_in, rate_out) == len(soxr.resample(signal, rate_in, rate_out, quality="HQ"))
