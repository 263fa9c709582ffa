import io

import datasets
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import BackendError
from hive_datasets.backends import Resample
from hive_datasets.backends.protocols import Clip
from hive_datasets.curation import MinScore, SuperResolve, measure_bandwidth
from hive_datasets.curation.clips import END, START, read_clip
from hive_datasets.curation.restoring import restore_in_windows
from tests.curation.models import HalvingRestorer, PeakJudge, tone
from tests.curation.test_clips import files_of


@given(st.integers(1, 5000), st.integers(2, 700))
def test_windows_sum_to_one(length, window):
    signal = np.random.default_rng(length).normal(0, 0.3, length).astype(np.float32)
    restored = restore_in_windows(signal, HalvingRestorer(), window)
    np.testing.assert_allclose(restored, signal / 2, atol=3e-7)


def test_windows_are_of_one_length_and_half_overlapping():
    seen = []

    class Seeing(HalvingRestorer):
        def restore(self, windows):
            seen.append(windows.shape)
            return windows

    restore_in_windows(np.zeros(35 * 100, np.float32), Seeing(), 1000)
    assert seen == [(6, 1000)]


def test_every_file(corpora):
    """To 44.1 kHz, mono, as long as before; those that lack highs restored, the others only resampled."""
    restored = 0
    for path in files_of(corpora)[::4]:
        record = {"audio": str(path), START: 0.0, END: min(3.0, soundfile.info(path).duration)}
        clip = read_clip(record)
        expected = clip.resampled(44100)
        batch = SuperResolve(HalvingRestorer())({name: [value] for name, value in record.items()})
        samples, rate = soundfile.read(io.BytesIO(batch["audio"][0]["bytes"]), dtype="float32")
        low = measure_bandwidth(clip) < 20000
        restored += low
        assert (rate, batch["restored"]) == (44100, [low])
        np.testing.assert_allclose(samples, expected / 2 if low else expected, atol=2**-23)
        assert batch["original_path"] == [str(path)] and batch[END] == pytest.approx([len(expected) / 44100])
    assert 5 < restored < len(files_of(corpora)[::4])


def test_resampling_invents_nothing():
    batch = SuperResolve(Resample())({"audio": [tone(1), "gone.wav"]})
    assert batch["restored"] == [False, False]
    assert batch["super_resolve_reason"] == ["", "unreadable: gone.wav: there is no such file"]
    assert batch["audio"][1] == {"bytes": None, "path": "gone.wav"}
    assert SuperResolve(HalvingRestorer(), below_hz=None)({"audio": [tone(1)]})["restored"] == [True]


def test_restorers_that_do_wrong():
    class Short(HalvingRestorer):
        def restore(self, windows):
            return windows[:, 1:]

    class Exploding(HalvingRestorer):
        def restore(self, windows):
            return windows * np.inf

    with pytest.raises(BackendError, match=r"halving gives shape \(1, 44099\) for \(1, 44100\)"):
        SuperResolve(Short())({"audio": [tone(1)]})
    with np.errstate(invalid="ignore"):
        batch = SuperResolve(Exploding())({"audio": [tone(1)]})
    assert (batch["super_resolve_reason"], batch["restored"]) == (
        ["no audio: the model gives what is no number"],
        [False],
    )
    with pytest.raises(TypeError, match="must be a Restorer"):
        SuperResolve(PeakJudge())
    with pytest.raises(ValueError, match="out of range"):
        SuperResolve(Resample(), window_seconds=0)


def test_less_memory_than_windows():
    class Small(HalvingRestorer):
        def restore(self, windows):
            if len(windows) > 1:
                raise MemoryError
            return windows / 2

    signal = np.random.default_rng(0).normal(0, 0.3, 9000).astype(np.float32)
    np.testing.assert_allclose(restore_in_windows(signal, Small(), 1000), signal / 2, atol=3e-7)


@pytest.mark.parametrize("rate", [8000, 16000, 32000])
@pytest.mark.parametrize("number", range(0, 89, 11))
def test_bandwidth_of_what_was_resampled(corpora, rate, number):
    """Whatever was recorded, nothing is left above half the lower rate."""
    clip = read_clip({"audio": str(files_of(corpora)[number]), START: 0.0, END: 1.0})
    again = Clip(Clip(clip.resampled(rate), rate).resampled(44100), 44100)
    assert measure_bandwidth(again) <= min(rate, clip.sampling_rate) / 2
    assert measure_bandwidth(again) == pytest.approx(min(measure_bandwidth(clip), rate / 2), abs=0.06 * rate)


def test_bandwidth_of_tones_and_silence():
    seconds = np.arange(44100) / 44100
    for hertz in (440, 5000, 15000):
        clip = Clip(np.sin(2 * np.pi * hertz * seconds).astype(np.float32), 44100)
        assert hertz <= measure_bandwidth(clip) <= hertz + 300
    assert measure_bandwidth(Clip(np.zeros(44100, np.float32), 44100)) == 0


def test_a_file_that_is_lost_among_others_in_a_map(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1)["array"], tone(1)["sampling_rate"])
    audio = ["gone.wav", str(tmp_path / "a.wav"), "gone.wav"]
    ds = datasets.Dataset.from_dict({"audio": audio, "labels": [["Dog"]] * 3})
    done = ds.map(SuperResolve(Resample()), batched=True, batch_size=2)
    assert done.filter(MinScore("super_resolve"), batched=True)["original_path"][:] == audio[1:2]
    assert done.cast_column("audio", datasets.Audio(decode=False))[0]["audio"] == {"bytes": None, "path": "gone.wav"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level_db", [-20, -30, -33, -40])
@pytest.mark.parametrize("rate", [8000, 16000, 32000])
def test_quiet_noise_of_16_bits(rate, level_db, seed):
    """Of which the rounding noise is less than 80 dB below."""
    noise = np.random.default_rng(seed).normal(0, 10 ** (level_db / 20), rate * 3).astype(np.float32)
    for dither in (0, 1):
        steps = Clip(noise, rate).resampled(44100) * 2**15
        steps += dither * np.random.default_rng(seed).triangular(-1, 0, 1, len(steps))
        clip = Clip((np.round(steps) / 2**15).astype(np.float32), 44100)
        assert 0.9 * rate / 2 < measure_bandwidth(clip) <= rate / 2 + 300
