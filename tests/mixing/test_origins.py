"""Each dataset's rows find their own sources, through whatever is done with the dataset, and no file says where."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from datasets import concatenate_datasets, interleave_datasets, load_from_disk

from hive_datasets import (
    MetadataUnavailableError,
    Mixer,
    Mixture,
    MixtureFeatureWarning,
    RenderMixtures,
    SourceRootError,
    load_dataset,
    parse_recipe,
)


@pytest.fixture
def load(shared, corpora, tmp_path):
    def load(name, streaming=False, **options):
        if name == "demo":
            return load_dataset("hive", "demo", split="train", streaming=streaming, **options)
        metadata, cache = str(shared / "mini" / "hub"), str(tmp_path / "cache")
        options = {"dataset_paths": corpora, **options}
        return load_dataset("hive", data_dir=metadata, split="train", streaming=streaming, cache_dir=cache, **options)

    return load


@pytest.fixture(scope="session")
def expected(corpora, mini, demo, demo_recipes):
    """The first mixtures of both."""
    hive = [recipe for recipe in mini if recipe.split == "train"][:2]
    return [Mixer(corpora)(r)["mix"] for r in hive] + [Mixer(demo / "sources")(r)["mix"] for r in demo_recipes[:2]]


def assert_are(rows, expected):
    for row, mix in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row["mixture"]["mix"], mix)


def test_interleaved_streams(load, expected):
    both = list(interleave_datasets([load("hive", True), load("demo", True)]).take(4))
    assert_are(both[::2] + both[1::2], expected)


@pytest.mark.parametrize("streaming", [True, False])
def test_concatenated(load, expected, streaming):
    both = concatenate_datasets([load(name, streaming).take(2) for name in ("hive", "demo")])
    assert_are(both, expected)
    at_16k = both.cast_column("mixture", Mixture(sampling_rate=16000))
    assert [row["mixture"]["mix"].shape for row in at_16k] == [(64000,)] * 4


def test_one_metadata_with_two_roots(load, copy, expected):
    """Also where the metadata, and so the cache, are the same."""
    one, other = load("hive"), load("hive", dataset_paths=copy)
    lost = other[0]["mixture"].copy()
    shutil.rmtree(copy)
    both = concatenate_datasets([one.select([0]), other.select([0])])
    np.testing.assert_array_equal(both[0]["mixture"]["mix"], lost["mix"])
    with pytest.raises(SourceRootError, match=str(copy)):
        both[1]["mixture"]["mix"]


def test_a_load_that_fails_or_comes_later_changes_nothing(load, expected, copy):
    hive = load("hive")
    load("demo")
    with pytest.raises(MetadataUnavailableError):
        load_dataset("hive", data_dir="/nowhere", dataset_paths=copy)
    assert_are([hive[0], hive[1]], expected[:2])
    np.testing.assert_array_equal(hive.cast_column("mixture", Mixture())[0]["mixture"]["mix"], expected[0])


def both_of(load):
    return concatenate_datasets([load("hive").select(range(2)), load("demo").select(range(2))])


def test_through_map_and_the_disk(load, expected, tmp_path):
    both = both_of(load)
    assert_are(both.map(lambda row: {"peak": float(row["mixture"]["mix"].max())}), expected)
    assert_are(both.map(lambda row: {"n": 1}, num_proc=2), expected)
    with pytest.warns(MixtureFeatureWarning, match="recipes_as_structs"):
        both.save_to_disk(tmp_path / "saved")
    assert_are(load_from_disk(tmp_path / "saved"), expected)


def in_another_process(code, environment):
    code = f"import hive_datasets, pickle\nfrom datasets import load_from_disk\n{code}"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    return run.stdout + run.stderr


def test_another_process_knows_what_it_is_handed(load, expected, tmp_path, subprocess_environment):
    """As a worker that is spawned, or one of Ray's."""
    both = both_of(load)
    (tmp_path / "pickled").write_bytes(pickle.dumps((both, RenderMixtures())))
    code = f"""
both, render = pickle.load(open({str(tmp_path / "pickled")!r}, "rb"))
print([float(row["mixture"]["mix"][1000]) for row in both])
stored = list(both.cast_column("mixture", hive_datasets.Mixture(decode=False)))
print([float(mix[1000]) for mix in render(stored)["mix"]])
"""
    values = str([float(mix[1000]) for mix in expected])
    assert in_another_process(code, subprocess_environment).split("\n")[:2] == [values, values]


def test_a_file_tells_nothing_and_another_process_must_be_told(load, corpora, demo, tmp_path, subprocess_environment):
    both = both_of(load)
    with pytest.warns(MixtureFeatureWarning):
        both.save_to_disk(tmp_path / "saved")
    both.to_parquet(tmp_path / "saved" / "table.parquet")
    roots = [str(corpora).encode(), str(demo / "sources").encode()]
    for file in filter(lambda file: file.is_file(), tmp_path.rglob("*")):
        assert not any(root in file.read_bytes() for root in roots)
    code = f"both = load_from_disk({str(tmp_path / 'saved')!r})\n"
    said = in_another_process(f"{code}both[0]['mixture']['mix']", subprocess_environment)
    assert "another process loaded with dataset_paths=" in said and "dataset_paths= of Mixture (in cast_column)" in said
    told = f'both = both.cast_column("mixture", hive_datasets.Mixture(dataset_paths={str(corpora)!r}))\n'
    shown = 'print(both[0]["mixture"]["mix"].shape, both.map(lambda row: {"n": 1})[1]["mixture"]["mix"].shape)'
    assert "(176400,) (176400,)" in in_another_process(code + told + shown, subprocess_environment)
    configured = {**subprocess_environment, "HIVE_DATASET_PATHS": str(corpora)}
    assert "(176400,)" in in_another_process(f'{code}print(both[0]["mixture"]["mix"].shape)', configured)


def test_what_a_feature_is_told_holds_for_all_rows_and_is_not_mixed_with_others(load, corpora, demo):
    told = load("hive", dataset_paths={"AudioSet": "/nowhere"}).cast_column("mixture", Mixture(dataset_paths=corpora))
    assert told[0]["mixture"]["mix"].any()
    with pytest.raises(ValueError, match="can't be aligned"):
        concatenate_datasets([told, load("demo")])


def test_a_recipe_remembers_where_its_row_came_from(load, expected):
    row = next(iter(load("demo", True).decode(False)))
    recipe = parse_recipe(row)
    np.testing.assert_array_equal(Mixer()(recipe)["mix"], expected[2])
    assert "origin" not in recipe.to_dict() and parse_recipe(recipe.to_json()) == recipe
