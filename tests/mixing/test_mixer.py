"""The mixer against the literal reference, on every real row and on every format."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset, Features

from hive_datasets import (
    ChunkOutOfRangeError,
    EmptySourceError,
    Mixer,
    Mixture,
    NonFiniteSourceError,
    RecipeError,
    RenderMixtures,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    TruncatedSourceError,
    UnreadableSourceWarning,
    load_dataset,
    read_recipes,
)
from tests.copies import own
from tests.reference import render_mixture


@pytest.fixture(params=["dr_flac", "libsndfile"])
def flac_decoder(request, monkeypatch):
    """Both ways of decoding FLAC."""
    if request.param == "dr_flac":
        pytest.importorskip("miniaudio")
    else:
        monkeypatch.setattr("hive_datasets.mixing.flac.find_miniaudio", lambda: None)


def assert_agrees(folder, recipe, sampling_rate=None):
    mix, stems = render_mixture(folder, recipe.to_dict(), sampling_rate)
    ours = Mixer(folder, sampling_rate, alignment="own")(recipe)
    assert ours["mix"].dtype == ours["sources"].dtype == np.float32
    assert ours["mix"].shape == mix.shape
    assert ours["sources"].shape == stems.shape
    np.testing.assert_allclose(ours["mix"], mix, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours["sources"], stems * recipe.global_normalization_factor, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours["sources"].sum(0), ours["mix"], rtol=0, atol=1e-6)
    steps = np.rint(np.clip(ours["mix"], -1, 1) * 32767) - np.rint(np.clip(mix, -1, 1) * 32767)
    assert np.abs(steps).max() <= 1
    return ours


def test_every_published_row(hive_rows, corpora, flac_decoder):
    for recipe in read_recipes(hive_rows):
        assert_agrees(corpora, recipe)


def test_every_row_of_mini(shared, corpora, flac_decoder):
    recipes = list(read_recipes(shared / "mini" / "hub"))
    assert len(recipes) == 64
    for recipe in recipes:
        ours = assert_agrees(corpora, recipe)
        # what the metadata promises of itself
        assert np.abs(ours["mix"]).max() == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize("sampling_rate", [16000, 32000, 48000, 22050])
def test_every_row_of_mini_at_other_rates(shared, corpora, sampling_rate):
    for recipe in list(read_recipes(shared / "mini" / "hub"))[::4]:
        assert_agrees(corpora, recipe, sampling_rate)


def test_every_row_of_the_demo(demo, flac_decoder):
    for recipe in read_recipes(demo / "metadata"):
        ours = assert_agrees(demo / "sources", recipe)
        assert np.abs(ours["mix"]).max() == pytest.approx(0.95, abs=1e-5)


def test_unscaled_stems_are_the_authors(demo, demo_recipes):
    recipe = demo_recipes[1]
    mix, stems = render_mixture(demo / "sources", recipe.to_dict())
    ours = Mixer(demo / "sources", stems="unscaled")(recipe)
    np.testing.assert_allclose(ours["sources"], stems, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours["mix"], mix, rtol=0, atol=1e-5)


def test_a_row_in_any_shape_renders(demo, row):
    np.testing.assert_array_equal(Mixer(demo / "sources")(row)["mix"], Mixer(demo / "sources")(json.dumps(row))["mix"])


@pytest.fixture
def recipe(demo_recipes):
    """A recipe of one source, of a chunk of 8 s that starts 1 s into the file; its path is a.EXT."""
    source = replace(
        demo_recipes[0].sources[0],
        path="AudioSet/a.wav",
        chunk_start_second=1.0,
        chunk_end_second=9.0,
        crop_start_second=2.345,
        crop_end_second=6.345,
    )
    return replace(demo_recipes[0], sources=(source,))


def with_file(recipe, folder, suffix, rate, channels=1, seconds=10.0, **options):
    """Write noise as AudioSet/a.SUFFIX and let the recipe point to it."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (int(seconds * rate), channels))
    (folder / "AudioSet").mkdir(exist_ok=True)
    file = folder / "AudioSet" / f"a{suffix}"
    soundfile.write(file, noise, rate, **options)
    return with_source(recipe, path=f"AudioSet/a{suffix}"), file


def with_source(recipe, **changes):
    return replace(recipe, sources=(replace(recipe.sources[0], **changes),))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 37800, 44056, 44100, 48000, 96000, 192000])
def test_every_rate(recipe, tmp_path, rate):
    recipe, _ = with_file(recipe, tmp_path, ".wav", rate)
    assert_agrees(tmp_path, recipe)


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "options"),
    [
        (".wav", 44100, 1, {"subtype": "PCM_16"}),
        (".wav", 44100, 2, {"subtype": "PCM_24"}),
        (".wav", 48000, 1, {"subtype": "FLOAT"}),
        (".wav", 32000, 1, {"subtype": "PCM_U8"}),
        (".wav", 22050, 1, {"subtype": "MS_ADPCM"}),
        (".wav", 44100, 6, {"subtype": "PCM_16"}),
        (".flac", 48000, 2, {"subtype": "PCM_24"}),
        (".ogg", 44100, 1, {"subtype": "VORBIS"}),
        (".ogg", 48000, 2, {"subtype": "OPUS"}),
        (".mp3", 44100, 2, {}),
        (".aiff", 44100, 1, {}),
    ],
)
def test_every_format(recipe, tmp_path, suffix, rate, channels, options):
    """Vorbis and MP3 too, in which a seek would not be exact: against the whole file, decoded from the start."""
    assert_decodes(recipe, tmp_path, suffix, rate, channels, options)


@pytest.mark.parametrize(("rate", "channels"), [(32000, 1), (48000, 2)])
def test_flac(recipe, tmp_path, rate, channels, flac_decoder):
    assert_decodes(recipe, tmp_path, ".flac", rate, channels, {"subtype": "PCM_16"})


def assert_decodes(recipe, tmp_path, suffix, rate, channels, options):
    recipe, file = with_file(recipe, tmp_path, suffix, rate, channels, **options)
    decoded, _ = soundfile.read(file, dtype="float32", always_2d=True)  # in which all of these are exact
    as_wav = with_source(recipe, path="AudioSet/decoded.wav")
    soundfile.write(tmp_path / "AudioSet" / "decoded.wav", decoded, rate, subtype="FLOAT")
    mix, _ = render_mixture(tmp_path, as_wav.to_dict())
    np.testing.assert_allclose(Mixer(tmp_path)(recipe)["mix"], mix, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("suffix", "seeks"), [(".mp3", {0}), (".ogg", {0}), (".wav", {32000 + 75040})])
def test_only_formats_that_seek_exactly_are_sought(recipe, tmp_path, monkeypatch, suffix, seeks):
    recipe, _ = with_file(recipe, tmp_path, suffix, 32000)
    recipe = with_source(recipe, crop_start_second=2.345, crop_end_second=6.345)
    seen = set()
    original = soundfile.SoundFile.seek
    monkeypatch.setattr(soundfile.SoundFile, "seek", lambda self, frame: seen.add(frame) or original(self, frame))
    Mixer(tmp_path, sampling_rate=32000, alignment="own")(recipe)
    assert seen == seeks


@pytest.mark.parametrize("rate", [16000, 32000, 44100, 48000])
def test_crops_at_and_past_the_ends_of_the_chunk(recipe, tmp_path, rate):
    recipe, _ = with_file(recipe, tmp_path, ".wav", rate)
    for crop in (0.0, 0.001, 3.99, 4.0, 4.001, 7.5, 7.999, 8.0, 20.0):
        assert_agrees(tmp_path, with_source(recipe, crop_start_second=crop, crop_end_second=crop + 4.0))


def test_int_truncation_decides_the_sample(recipe, tmp_path):
    """Seconds that are whole frames in theory come out one lower in floats now and then; so they must here."""
    recipe, _ = with_file(recipe, tmp_path, ".wav", 44100)
    for start in np.arange(20000, 20050) / 44100:
        start = float(start)
        assert_agrees(tmp_path, with_source(recipe, crop_start_second=start, crop_end_second=start + 4.0))


def test_the_crop_may_be_shorter_or_longer_than_the_target(recipe, tmp_path):
    recipe, _ = with_file(recipe, tmp_path, ".wav", 32000)
    for length in (2.0, 3.9999, 5.0):
        assert_agrees(tmp_path, with_source(recipe, crop_start_second=1.0, crop_end_second=1.0 + length))


def test_a_chunk_may_end_10_frames_past_the_end_but_not_11(recipe, tmp_path):
    recipe, _ = with_file(recipe, tmp_path, ".wav", 44100, seconds=9)
    assert_agrees(tmp_path, with_source(recipe, chunk_end_second=(9 * 44100 + 10.5) / 44100))
    with pytest.raises(ChunkOutOfRangeError, match="11 past the last") as caught:
        Mixer(tmp_path)(with_source(recipe, chunk_end_second=(9 * 44100 + 11.5) / 44100))
    assert_names_everything(caught.value, recipe, tmp_path)


def assert_names_everything(error, recipe, folder):
    source = recipe.sources[0]
    location = f"{folder}/{source.path}"
    assert (error.mix_id, error.source_id, error.path, error.location) == (
        recipe.mix_id,
        source.source_id,
        source.path,
        location,
    )
    for part in (error.mix_id, error.source_id, error.path, error.location):
        assert part in str(error)


def break_missing(file):
    file.unlink()


def break_zero_length(file):
    file.write_bytes(b"")


def break_no_frames(file):
    soundfile.write(file, np.zeros((0, 1)), 32000)


def break_not_audio(file):
    file.write_text("this is not audio")


def break_folder(file):
    file.unlink()
    file.mkdir()


def break_half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])


def break_middle(file):
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("suffix", "damage", "error", "says"),
    [
        (".wav", break_missing, SourceNotFoundError, "there is no such file"),
        (".wav", break_zero_length, EmptySourceError, "no bytes"),
        (".wav", break_no_frames, EmptySourceError, "no frames"),
        (".wav", break_not_audio, SourceFormatError, "libsndfile cannot read it"),
        (".wav", break_folder, SourceNotFoundError, "it is a folder"),
        (".wav", break_half, ChunkOutOfRangeError, "past the last"),
        (".flac", break_half, TruncatedSourceError, "cannot be decoded"),
        (".flac", break_middle, TruncatedSourceError, "frames"),
    ],
)
def test_failures_name_the_mixture_the_source_the_path_and_the_location(
    recipe, tmp_path, suffix, damage, error, says, flac_decoder
):
    recipe, file = with_file(recipe, tmp_path, suffix, 32000)
    damage(file)
    with pytest.raises(error, match=says) as caught:
        Mixer(tmp_path)(recipe)
    assert type(caught.value) is error
    assert isinstance(caught.value, SourceError)
    assert_names_everything(caught.value, recipe, tmp_path)


def test_a_missing_root_folder_is_named(recipe, tmp_path):
    with pytest.raises(SourceRootError, match=f"{tmp_path}/nowhere: there is no such folder or archive"):
        Mixer({"AudioSet": tmp_path / "nowhere"})(recipe)


def test_a_stream_that_does_not_know_its_length_is_read(recipe, tmp_path, flac_decoder):
    recipe, file = with_file(recipe, tmp_path, ".flac", 32000)
    expected = Mixer(tmp_path)(recipe)
    data = bytearray(file.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO's total samples
    data[22:26] = bytes(4)
    file.write_bytes(data)
    np.testing.assert_array_equal(Mixer(tmp_path)(recipe)["mix"], expected["mix"])
    with pytest.raises(TruncatedSourceError):
        Mixer(tmp_path)(with_source(recipe, crop_start_second=5.0, crop_end_second=9.0, chunk_end_second=11.0))


def test_no_root_names_the_mixture_and_the_source(recipe):
    with pytest.raises(SourceRootError, match="no source roots are configured") as caught:
        Mixer()(recipe)
    assert not caught.value.configured
    assert recipe.mix_id in str(caught.value)
    assert (caught.value.mix_id, caught.value.source_id) == (recipe.mix_id, "s1")


@pytest.mark.parametrize("options", [{"sampling_rate": 0}, {"sampling_rate": 16000.5}, {"stems": "loud"}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="must be"):
        Mixer(**options)


_COUNT_THREADS = """
import os, sys
import hive_datasets
mixers = [hive_datasets.Mixer(sys.argv[2]), hive_datasets.Mixer({}, prepared=sys.argv[3])]
recipes = list(hive_datasets.read_recipes(sys.argv[1]))
for mixer in mixers:  # libraries are loaded, some of which hold threads ready
    mixer(recipes[0])
before = len(os.listdir("/proc/self/task"))
for mixer in mixers:
    for recipe in recipes:
        mixer(recipe)
print(before, len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted by what Linux tells")
def test_rendering_starts_no_threads(shared, corpora, prepared, subprocess_environment):
    """Neither soxr, nor libsndfile, nor a BLAS: workers, one a core, would get in each other's way."""
    arguments = [shared / "mini" / "hub", corpora, prepared]
    command = [sys.executable, "-c", _COUNT_THREADS, *map(str, arguments)]
    before, after = subprocess.run(
        command, env=subprocess_environment, stdout=subprocess.PIPE, check=True, text=True, timeout=120
    ).stdout.split()
    assert before == after


@pytest.mark.parametrize(
    "fault", [{"applied_weight": 1e300}, {"applied_weight": float("nan")}, {"crop_start_second": float("nan")}]
)
def test_recipes_that_nobody_checked(demo, demo_recipes, fault):
    """As of a file of others, in which they are stored as mixtures already."""
    sources = (replace(demo_recipes[0].sources[0], **fault), *demo_recipes[0].sources[1:])
    bad = replace(demo_recipes[0], sources=sources)
    long = replace(demo_recipes[0], target_duration=4e7)
    stored = Dataset.from_list(
        [{"mixture": demo_recipes[0].to_dict()}],
        features=Features({"mixture": Mixture(dataset_paths=demo / "sources")}),
    )
    for recipe in (bad, long):
        with pytest.raises(RecipeError):
            Mixer(demo / "sources")(recipe)
        with pytest.raises(RecipeError):
            RenderMixtures(dataset_paths=demo / "sources")([recipe])
        with pytest.raises(RecipeError):
            stored.features["mixture"].decode_example({**recipe.to_dict(), "origin": None})["mix"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e13])
@pytest.mark.parametrize("way", ["mixer", "stream", "batch"])
def test_samples_that_are_no_numbers_are_never_served(mini, copy, shared, value, way):
    """The error names the source; where it is passed over, its mixtures are."""
    train = [recipe for recipe in mini if recipe.split == "train"]
    path = next(source.path for source in train[0].sources if source.path.endswith(".wav"))
    samples, rate = soundfile.read(copy / path, dtype="float32")
    samples[::100] = value  # in whatever is read of it
    soundfile.write(own(copy / path), samples, rate, subtype="FLOAT")
    concerned = {recipe.mix_id for recipe in train if path in {source.path for source in recipe.sources}}
    if way == "mixer":
        with pytest.raises(NonFiniteSourceError, match=f"mixture {train[0].mix_id}, source s.*NaN, infinite") as raised:
            Mixer(copy)(train[0])
        assert raised.value.path == path
        return
    metadata = {"data_dir": str(shared / "mini" / "hub"), "split": "train", "streaming": True, "dataset_paths": copy}
    if way == "stream":
        with pytest.warns(UnreadableSourceWarning):
            rows = list(load_dataset("hive", on_error="skip", **metadata))
        found = {row["mix_id"] for row in rows}
        assert all(np.isfinite(row["mixture"]["sources"]).all() for row in rows)
    else:
        batch = RenderMixtures(dataset_paths=copy, on_error="skip")(train[:10])
        found = set(batch["mix_id"])
        assert np.isfinite(batch["sources"]).all()
    assert not found & concerned and found
