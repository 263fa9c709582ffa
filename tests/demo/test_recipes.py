import numpy as np
import pytest
import soundfile

from hive_datasets import Mixer, OutputError, find_corpus, list_corpora, read_recipes
from hive_datasets.demo.recipes import demo_folder, draw_recipes, list_sounds, write_demo, write_sounds


def test_all_twelve_corpora_are_heard(demo):
    recipes = list(read_recipes(demo / "metadata"))
    assert {find_corpus(s.path.split("/")[0]).name for r in recipes for s in r.sources} == {
        corpus.name for corpus in list_corpora()
    }
    assert {(r.split, r.num_sources) for r in recipes} == {
        (split, n) for split in ("train", "validation", "test") for n in range(2, 6)
    }


def test_sounds_are_as_listed_clean_and_distinct(demo):
    spectra = {}
    for sound in list_sounds():
        frames, rate = soundfile.read(demo / "sources" / sound.path, always_2d=True)
        assert (rate, frames.shape[1]) == (sound.sampling_rate, sound.channels)
        assert len(frames) == round(sound.seconds * rate)
        assert np.abs(frames).max() == pytest.approx(0.5, abs=1 / 32768)
        assert np.abs(frames.mean()) < 0.01
        windows = frames[: len(frames) // rate * rate, 0].reshape(-1, rate)
        assert (np.sqrt((windows**2).mean(axis=1)) > 1e-3).all(), f"{sound.path} has a silent second"
        bands = np.abs(np.fft.rfft(frames[: 3 * rate, 0]))[: 3 * 8000].reshape(100, -1).mean(axis=1)
        spectra[sound.label] = bands / np.linalg.norm(bands)
    assert len(spectra) == 24
    labels = list(spectra)
    for i, a in enumerate(labels):
        for b in labels[i + 1 :]:
            assert spectra[a] @ spectra[b] < 0.999, f"{a} and {b} sound alike"


def test_recipes_keep_hives_rules(demo):
    for recipe in read_recipes(demo / "metadata"):
        stems = Mixer(demo / "sources")(recipe)["sources"].astype(np.float64) / recipe.global_normalization_factor
        for stem, source in zip(stems, recipe.sources, strict=True):
            assert source.applied_weight == pytest.approx(source.rms_gain * 10 ** (source.snr_db / 20))
            assert np.sqrt(np.mean(stem**2)) == pytest.approx(0.1 * 10 ** (source.snr_db / 20), rel=1e-5)
            assert -5 <= source.snr_db <= 5
        assert recipe.sources[0].snr_db == 0
        assert len(set(recipe.labels)) == recipe.num_sources


def test_made_twice_it_is_the_same(demo, tmp_path):
    write_sounds(tmp_path)
    for sound in list_sounds():
        ours, theirs = (
            soundfile.read(folder / sound.path, dtype="int16")[0] for folder in (tmp_path, demo / "sources")
        )
        np.testing.assert_array_equal(ours, theirs)
    shipped = [r for split in ("train", "validation", "test") for r in read_recipes(demo / "metadata" / split)]
    for ours, theirs in zip(draw_recipes(tmp_path), shipped, strict=True):
        assert ours.labels == theirs.labels
        for a, b in zip(ours.sources, theirs.sources, strict=True):
            assert (a.path, a.crop_start_second, a.chunk_start_second) == (
                b.path,
                b.crop_start_second,
                b.chunk_start_second,
            )
            # releases of soxr and numpy differ in the last bits of the excerpts that gains are measured on
            assert (a.rms_gain, a.applied_weight) == pytest.approx((b.rms_gain, b.applied_weight), rel=1e-6)
        assert ours.global_normalization_factor == pytest.approx(theirs.global_normalization_factor, rel=1e-6)


def test_an_interrupted_generation_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("hive_datasets.demo.recipes.cache_folder", lambda _: tmp_path)
    monkeypatch.setattr(
        "hive_datasets.demo.recipes.draw_recipes", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        demo_folder()
    assert list(tmp_path.iterdir()) == []


def test_a_larger_demo(tmp_path):
    """Splits have no file in common, every kind of sound is in both, and recipes are as Hive's: peaks, gains, sums."""
    sizes = {"num_sources": (2, 4), "seconds": 0.5}
    write_demo(tmp_path / "demo", {"train": [0, 1], "test": [2]}, {"train": 60, "test": 60}, **sizes)
    recipes = {split: list(read_recipes(tmp_path / "demo" / "metadata" / split)) for split in ("train", "test")}
    files = {split: {source.path for each in found for source in each.sources} for split, found in recipes.items()}
    assert files["train"].isdisjoint(files["test"])
    assert all(len({label for each in found for label in each.labels}) == 24 for found in recipes.values())
    mixer = Mixer(tmp_path / "demo" / "sources")
    for recipe in recipes["train"][:6]:
        mixture = mixer(recipe)
        assert np.abs(mixture["mix"]).max() == pytest.approx(0.95, abs=1e-4)
        assert np.abs(mixture["sources"].sum(0) - mixture["mix"]).max() < 1e-6
    assert {recipe.num_sources for recipe in recipes["test"]} == {2, 4}
    with pytest.raises(OutputError):
        write_demo(tmp_path / "demo", {"train": [0]}, {"train": 1})
