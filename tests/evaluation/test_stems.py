"""Folders of stems, as MUSDB18-HQ is unpacked."""

import numpy as np
import pytest
import soundfile

from hive_datasets import EvaluationError, SelectTarget, Subset, evaluate_separator
from hive_datasets.evaluation import StemTargets


@pytest.fixture
def songs(tmp_path):
    """Two splits; stereo at 44.1 kHz, 3 s and one of 4 s, mixtures that are sums."""
    random = np.random.default_rng(0)
    for split, song, seconds in (("test", "One", 3), ("test", "Two", 4), ("train", "Three", 3)):
        folder = tmp_path / "songs" / split / song
        folder.mkdir(parents=True)
        stems = {name: 0.1 * random.normal(size=(seconds * 44100, 2)) for name in ("bass", "drums", "lead_vocals")}
        for name, stem in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(folder / f"{name}.wav", stem, 44100, "FLOAT")
    return tmp_path / "songs"


def test_each_stem_of_each_song(songs):
    targets = StemTargets(songs, templates=["the {label}"])
    items = list(targets.items())
    assert [item.targets[0].mix_id for item in items] == ["test/One", "test/Two", "train/Three"]
    assert [target.split for item in items for target in item.targets] == ["test"] * 6 + ["train"] * 3
    from_above = next(StemTargets(songs.parent).items()).targets[0]
    assert (from_above.mix_id, from_above.split) == ("songs/test/One", "test")
    assert [target.query for target in items[0].targets] == ["the bass", "the drums", "the lead vocals"]
    rate, signals = targets.read(items[0])
    assert rate == 44100
    for (mixture, reference), target in zip(signals, items[0].targets, strict=True):
        stem = soundfile.read(songs / "test" / "One" / f"{target.label}.wav", dtype="float32")[0]
        assert np.allclose(reference, stem.mean(axis=1), atol=1e-7)
        assert np.allclose(mixture, sum(reference for _, reference in signals), atol=1e-6)


def test_by_the_same_call(songs, tmp_path):
    found = evaluate_separator("mixture", Subset(songs, splits="test"), tmp_path / "out", sampling_rate=16000)
    assert found.summary["asked"] == found.summary["scored"] == 6
    assert found.table.column("sdr").to_pylist() == pytest.approx([-3.0] * 6, abs=0.2)  # one of three
    cut = evaluate_separator("mixture", songs, tmp_path / "cut", protocol="musdb18-hq", segment_seconds=1.0)
    assert cut.summary["asked"] == cut.summary["scored"] == 30
    assert sorted(set(cut.table.column("start_second").to_pylist())) == [0.0, 1.0, 2.0, 3.0]
    alone = evaluate_separator("mixture", songs / "test" / "One", tmp_path / "one", metrics=["sdr"])
    assert alone.table.column("mix_id").to_pylist() == ["One"] * 3


def test_whatever_else_lies_there(songs, tmp_path):
    one = songs / "test" / "One"
    (one / "bass.wav").rename(one / "bass.WAV")
    (one / "._drums.wav").write_bytes(b"of a Mac")
    soundfile.write(one / "drums.flac", *soundfile.read(one / "drums.wav"))
    soundfile.write(one / "mixture.flac", *soundfile.read(one / "mixture.wav"))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "Song").symlink_to(one)
    (item,) = StemTargets(tmp_path / "linked").items()
    assert [target.label for target in item.targets] == ["bass", "drums", "lead_vocals"]


def test_segments_at_another_rate(songs):
    """Of 22,050 Hz, whose quarter of a second is no whole number of samples."""
    one = songs / "test" / "One"
    for file in one.iterdir():
        soundfile.write(file, np.random.default_rng(0).normal(size=5512 * 101) * 0.1, 22050)
    targets = StemTargets(one, 16000, segment_seconds=0.25)
    (item,) = targets.items()
    _, pairs = targets.read(item)
    assert {len(signal) for pair in pairs for signal in pair} == {4000} and len(pairs) == len(item.targets)
    assert item.targets[-1].start_second == 0.25 * (len(item.targets) // 3 - 1)


def test_other_audio_is_other_data(songs):
    before = [item.identity for item in StemTargets(songs).items()]
    samples, rate = soundfile.read(songs / "test" / "One" / "bass.wav")
    samples[len(samples) // 2] += 0.1
    soundfile.write(songs / "test" / "One" / "bass.wav", samples, rate, "FLOAT")
    after = [item.identity for item in StemTargets(songs).items()]
    assert before[0] != after[0] and before[1:] == after[1:]


def test_what_is_no_song(songs, tmp_path):
    with pytest.raises(EvaluationError, match=r"no mixture\.wav below it in these splits"):
        StemTargets(songs, splits=["validation"])
    with pytest.raises(EvaluationError, match="only splits and limit choose"):
        evaluate_separator("mixture", Subset(songs, labels="bass"), tmp_path / "out")
    with pytest.raises(ValueError, match="select may only have templates"):
        evaluate_separator("mixture", songs, tmp_path / "out", select=SelectTarget("all", absent=0.1))
    soundfile.write(songs / "test" / "One" / "bass.wav", np.zeros(100), 44100)
    with pytest.raises(EvaluationError, match=r"bass\.wav has 100 samples at 44,100 Hz, its mixture 132,300"):
        list(StemTargets(songs).items())
    (songs / "test" / "One" / "bass.wav").write_bytes(b"no audio")
    with pytest.raises(EvaluationError, match=r"bass\.wav cannot be read"):
        list(StemTargets(songs).items())
    soundfile.write(songs / "test" / "One" / "mixture.wav", np.zeros(0), 44100)
    for stem in ("bass", "drums", "lead_vocals"):
        soundfile.write(songs / "test" / "One" / f"{stem}.wav", np.zeros(0), 44100)
    with pytest.raises(EvaluationError, match=r"mixture\.wav is empty"):
        list(StemTargets(songs).items())
    for stem in ("bass", "drums", "lead_vocals"):
        (songs / "test" / "One" / f"{stem}.wav").unlink()
    with pytest.raises(EvaluationError, match=r"no stems beside mixture\.wav"):
        list(StemTargets(songs).items())
