"""Samples as they are stored: what comes out is what went in, to half a step of each block."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_datasets.prepared.fused import find_fused_scale
from hive_datasets.prepared.samples import BLOCK, PAGE, checksums, decode, encode, errors_of

#: The way is set for a whole test, not for each example of it.
BOTH_WAYS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, params=["numpy", "numba"])
def way(request, monkeypatch):
    """Both ways of decoding, which give the same."""
    if request.param == "numba":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr("hive_datasets.prepared.samples.find_fused_scale", lambda: None)


def decoded(stored, steps, start=0, stop=None, gain=1.0):
    stop = len(stored) if stop is None else stop
    out = np.empty(stop - start, np.float32)
    decode(stored[start:stop], steps, start, gain, out)
    return out


@BOTH_WAYS
@given(
    length=st.integers(1, 3 * BLOCK + 5),
    bits=st.sampled_from([8, 16]),
    channels=st.sampled_from([1, 2]),
    peak=st.floats(1e-4, 1.0),
    seed=st.integers(0, 99),
)
def test_16_bit_audio_is_stored_exactly(length, bits, channels, peak, seed):
    """As long as the mean of two channels needs no 17th bit."""
    random = np.random.default_rng(seed)
    top = int(peak * 2 ** (bits - 1)) // channels
    frames = random.integers(-top - 1, top + 1, (length, channels), endpoint=True)
    signal = (frames.sum(axis=1) / channels / 2 ** (bits - 1)).astype(np.float32)
    if np.abs(signal).max() > 1:
        signal /= 2
    stored, steps = encode(signal, "int16")
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(decoded(stored, steps), signal)
    assert not errors_of(signal, stored, steps).any()


@BOTH_WAYS
@given(length=st.integers(1, 5 * BLOCK), loudness=st.floats(1e-6, 100.0), seed=st.integers(0, 99))
def test_other_audio_differs_by_half_a_step_of_its_block(length, loudness, seed):
    random = np.random.default_rng(seed)
    envelope = np.repeat(10.0 ** random.uniform(-4, 0, 6), BLOCK)[:length]
    signal = (random.uniform(-1, 1, length) * envelope * loudness).astype(np.float32)
    stored, steps = encode(signal, "int16")
    difference = np.abs(decoded(stored, steps).astype(np.float64) - signal)
    for block in range(-(-length // BLOCK)):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        # and float32, of which the product is
        assert difference[part].max() <= np.abs(signal[part]).max() * (0.5 / 32767 + 2.0**-22)
        assert errors_of(signal, stored, steps)[block] == pytest.approx(difference[part].max(), abs=1e-7 * loudness)


@BOTH_WAYS
@given(data=st.data())
def test_any_part_is_that_of_the_whole(data):
    length = data.draw(st.integers(1, 4 * BLOCK))
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    gain = data.draw(st.sampled_from([1.0, 0.25, -3.0]))
    signal = np.sin(np.arange(length, dtype=np.float32) ** 1.5) * np.linspace(0.01, 1, length, dtype=np.float32)
    for sample_type in ("int16", "float16", "float32"):
        stored, steps = encode(signal, sample_type)
        whole = decoded(stored, steps)
        np.testing.assert_allclose(decoded(stored, steps, start, stop, gain), whole[start:stop] * gain, rtol=1e-6)


def test_floats_are_kept():
    signal = np.linspace(-3, 3, 1000, dtype=np.float32)
    np.testing.assert_array_equal(decoded(*encode(signal, "float32")), signal)
    half = decoded(*encode(signal, "float16"))
    assert 0 < np.abs(half - signal).max() <= 3 * 2.0**-11


def test_silence_and_nothing():
    for length in (0, 1, BLOCK + 1):
        stored, steps = encode(np.zeros(length, np.float32), "int16")
        assert not decoded(stored, steps).any() and len(stored) == length


def test_both_ways_are_the_same_to_the_bit(monkeypatch):
    pytest.importorskip("numba")
    random = np.random.default_rng(0)
    signal = random.uniform(-1, 1, 5 * BLOCK + 7).astype(np.float32)
    for sample_type in ("int16", "float32", "float16"):
        stored, steps = encode(signal, sample_type)
        for start, stop in (
            (0, 1),
            (5, BLOCK),
            (BLOCK - 1, BLOCK + 1),
            (100, 4 * BLOCK),
            (BLOCK, 3 * BLOCK),
            (9, len(signal)),
        ):
            found = []
            for fused in (find_fused_scale(), None):
                monkeypatch.setattr("hive_datasets.prepared.samples.find_fused_scale", lambda fused=fused: fused)
                out, total = np.full(stop - start, np.nan, np.float32), np.full(stop - start, np.nan, np.float32)
                decode(stored[start:stop], steps, start, 0.3, out, total, is_first=True)
                decode(stored[start:stop], steps, start, -0.7, out, total)
                found.append((out, total))
            np.testing.assert_array_equal(found[0], found[1])
            np.testing.assert_allclose(found[0][1], out * (0.3 - 0.7) / -0.7, rtol=1e-5)


def test_a_quiet_clip_loses_nothing_when_brought_up():
    signal = (np.sin(np.arange(20000) / 7) * 1e-5).astype(np.float32)
    stored, steps = encode(signal, "int16")
    gain = 0.5 / np.abs(signal).max()
    np.testing.assert_allclose(decoded(stored, steps, gain=gain), signal * gain, atol=2.0**-16)


@pytest.mark.parametrize("sample_type", ["int16", "float32"])
def test_whatever_is_changed_changes_the_checksum_of_its_page(sample_type):
    signal = np.random.default_rng(0).uniform(-1, 1, 2 * PAGE + 100).astype(np.float32)
    stored, steps = encode(signal, sample_type)
    errors = errors_of(signal, stored, steps)
    sums = checksums(stored, steps, errors, 5)
    of_last = steps if len(steps) == 1 else steps[2 * PAGE // BLOCK :]
    assert len(sums) == 3
    assert checksums(stored[2 * PAGE :], of_last, errors[2 * PAGE // BLOCK :], 5).tolist() == [sums[2]]
    changed = [values.copy() for values in (stored, steps, errors)]
    changed[0][PAGE + 5] += 1
    assert (checksums(changed[0], steps, errors, 5) != sums).tolist() == [False, True, False]
    changed[1][-1] *= 2
    assert (checksums(stored, changed[1], errors, 5) != sums)[-1]
    changed[2][0] += 1
    assert (checksums(stored, steps, changed[2], 5) != sums).tolist() == [True, False, False]
    assert (checksums(stored, steps, errors, 6) != sums).all()
