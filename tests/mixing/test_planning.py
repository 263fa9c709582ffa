"""The plan against its definition: whatever is asked, planned reading equals "resample the whole chunk, then crop"."""

import math

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_datasets import Source
from hive_datasets.mixing.planning import END_TOLERANCE, Header, OutOfRangeError, plan_excerpt
from hive_datasets.mixing.reading import resample


def make_source(chunk, crop):
    return Source("s1", "a/b.wav", "Bark", crop[0], crop[1], chunk[0], chunk[1], 1.0, 0.0, 1.0)


rates = st.sampled_from([8000, 11025, 16000, 22050, 24000, 32000, 44056, 44100, 48000, 96000])
seconds = st.floats(0, 3, allow_nan=False)


@settings(max_examples=150)
@given(rates, rates, st.integers(1, 60000), seconds, seconds, seconds, seconds, st.floats(0.01, 2))
def test_planned_excerpt_is_the_crop_of_the_whole_chunk(
    rate_in, rate_out, frames, chunk_start, chunk_length, crop_start, crop_length, duration
):
    source = make_source((chunk_start, chunk_start + chunk_length), (crop_start, crop_start + crop_length))
    num_samples = int(duration * rate_out)
    start, stop = int(source.chunk_start_second * rate_in), int(source.chunk_end_second * rate_in)
    header = Header(rate_in, frames, 1)
    if stop - frames > END_TOLERANCE or min(stop, frames) <= start:
        with pytest.raises(OutOfRangeError):
            plan_excerpt(source, header, rate_out, num_samples)
        return
    plan = plan_excerpt(source, header, rate_out, num_samples)
    assert start <= plan.start <= plan.stop <= min(stop, frames)

    signal = np.random.default_rng(frames).uniform(-1, 1, frames).astype(np.float32)
    chunk = signal[start : min(stop, frames)]
    whole = chunk if rate_in == rate_out else soxr.resample(chunk, rate_in, rate_out, quality="HQ")
    whole = np.pad(whole, (0, max(0, math.ceil(len(chunk) * (rate_out / rate_in)) - len(whole))))
    first, last = int(source.crop_start_second * rate_out), int(source.crop_end_second * rate_out)
    expected = np.zeros(num_samples, np.float32)
    crop = whole[first:last][:num_samples]
    expected[: len(crop)] = crop

    excerpt = resample(signal[plan.start : plan.stop], rate_in, rate_out, plan.skip, plan.length)
    padded = np.zeros(num_samples, np.float32)
    padded[: len(excerpt)] = excerpt
    np.testing.assert_allclose(padded, expected, rtol=0, atol=1e-5)


def test_only_what_is_needed_is_read():
    source = make_source((60.0, 70.0), (3.0, 7.0))
    plan = plan_excerpt(source, Header(32000, 200 * 32000, 1), 44100, 4 * 44100)
    assert plan.start >= 63 * 32000 - 2 * 320 - 256
    assert plan.stop - plan.start <= 4 * 32000 + 2 * 256 + 3 * 320
    same_rate = plan_excerpt(source, Header(44100, 200 * 44100, 1), 44100, 4 * 44100)
    assert same_rate.stop - same_rate.start == 4 * 44100


def test_rates_whose_phases_do_not_repeat_take_the_whole_chunk():
    """soxr interpolates its phases there: an excerpt would be 1e-5 off, times the gain."""
    source = make_source((0.0, 10.0), (3.0, 7.0))
    plan = plan_excerpt(source, Header(44056, 441000, 1), 44100, 4 * 44100)
    assert (plan.start, plan.stop, plan.skip) == (0, 440560, 3 * 44100)
