"""What `datasets` reads without this library: recipes as structs, mixtures as `Audio`."""

import subprocess
import sys

import datasets
import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset
from packaging.version import parse

from hive_datasets import Mixer, Mixture, MixtureFeatureWarning, mixtures_as_audio, recipes_as_structs
from hive_datasets.recipe import RECIPE_SCHEMA


@pytest.fixture(params=[True, False], ids=["stream", "table"])
def dataset(request, shared, corpora, tmp_path):
    options = {"split": "test", "streaming": request.param, "cache_dir": str(tmp_path / "cache")}
    return load_dataset("hive", data_dir=str(shared / "mini" / "hub"), dataset_paths=corpora, **options)


@pytest.fixture(scope="module")
def test_recipes(mini):
    return [recipe for recipe in mini if recipe.split == "test"]


def test_recipes_as_structs(dataset, test_recipes, corpora, tmp_path, subprocess_environment):
    plain = recipes_as_structs(dataset)
    assert [row["mixture"] for row in plain] == [recipe.to_dict() for recipe in test_recipes]
    assert list(plain.features["mixture"]) == RECIPE_SCHEMA.names
    plain.to_parquet(str(tmp_path / "plain.parquet"))
    code = f"from datasets import Dataset; print(len(Dataset.from_parquet({str(tmp_path / 'plain.parquet')!r})))"
    run = subprocess.run([sys.executable, "-c", code], env=subprocess_environment, capture_output=True, text=True)
    assert run.stdout.split() == [str(len(test_recipes))], run.stderr
    if parse(datasets.__version__) < parse("4.8.5") and not isinstance(dataset, Dataset):
        return  # which does not decode what `map` of a stream has made
    again = plain.cast_column("mixture", Mixture(dataset_paths=corpora))
    np.testing.assert_array_equal(next(iter(again))["mixture"]["mix"], Mixer(corpora)(test_recipes[0])["mix"])


def samples(value):
    import io

    return soundfile.read(io.BytesIO(value["bytes"]), dtype="float32")[0]


@pytest.mark.parametrize("stems", ["list", "none", 5])
def test_mixtures_as_audio(dataset, test_recipes, corpora, stems):
    heard = mixtures_as_audio(dataset, stems=stems)
    names = {"list": ["sources"], "none": [], 5: [f"source_{n}" for n in range(1, 6)]}[stems]
    assert heard.column_names == ["mix_id", "num_sources", "labels", "mixture", *names]
    assert isinstance(heard.features["mixture"], Audio)
    rows = list(heard.with_format("arrow").iter(3)) if hasattr(heard, "iter") else heard
    found = [row for table in rows for row in table.to_pylist()]
    mixer = Mixer(corpora)
    for row, recipe in zip(found, test_recipes, strict=True):
        expected = mixer(recipe)
        assert row["mixture"]["path"] == f"{recipe.mix_id}.mix.flac"
        stored = [row["mixture"], *(row["sources"] if stems == "list" else [row[name] for name in names])]
        signals = [expected["mix"], *(expected["sources"] if stems != "none" else [])]
        for file, signal in zip(stored, signals, strict=False):
            np.testing.assert_allclose(samples(file), np.clip(signal, -1, 1), atol=1 / 32768)
        assert all(file is None for file in stored[len(signals) :])


def test_they_are_decoded_as_every_other_audio(dataset, test_recipes, corpora):
    pytest.importorskip("torchcodec")
    row = next(iter(mixtures_as_audio(dataset)))
    heard = row["mixture"].get_all_samples().data.numpy()[0]
    np.testing.assert_allclose(heard, Mixer(corpora)(test_recipes[0])["mix"], atol=1 / 32768)
    assert len(row["sources"]) == test_recipes[0].num_sources


def test_what_cannot_be_asked_for(dataset):
    for stems in (0, True, "two"):
        with pytest.raises(ValueError, match="stems must be"):
            mixtures_as_audio(dataset, stems=stems)
    with pytest.raises(ValueError, match="there is no column 'labels' of mixtures"):
        mixtures_as_audio(dataset, "labels")
    with pytest.raises(ValueError, match=r"has \d sources, and there are 1 columns"):
        list(mixtures_as_audio(dataset, stems=1))


def test_recipes_that_are_not_decoded_and_columns_that_are_taken(dataset):
    undecoded = dataset.decode(False) if not isinstance(dataset, Dataset) else dataset
    assert mixtures_as_audio(undecoded, stems="none").column_names[3] == "mixture"
    next(iter(mixtures_as_audio(undecoded, stems="none").with_format("arrow").iter(1)))
    with pytest.raises(ValueError, match="there is a column 'sources' already"):
        mixtures_as_audio(dataset.rename_column("labels", "sources"))


def test_audio_says_what_to_do_instead(dataset):
    with pytest.raises(TypeError, match=r"mixtures_as_audio\(dataset\) renders mixtures to Audio columns"):
        next(iter(dataset.cast_column("mixture", Audio())))
    files = Dataset.from_dict({"audio": [{"bytes": b"x", "path": "a"}]}).cast_column("audio", Audio(decode=False))
    assert files[0]["audio"] == {"bytes": b"x", "path": "a"}


def test_a_warning_where_mixtures_are_written_for_others(dataset, tmp_path):
    if isinstance(dataset, Dataset):
        with pytest.warns(MixtureFeatureWarning, match="plain `datasets` ends with .Feature type 'Mixture' not found"):
            dataset.save_to_disk(tmp_path / "saved")
