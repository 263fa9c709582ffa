"""The `Mixture` feature under everything that `datasets` does with a column."""

import copy
import json
import multiprocessing
import os
import pickle
import warnings

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, Value, load_dataset, load_from_disk
from packaging.version import parse

from hive_datasets import (
    Mixer,
    Mixture,
    MixtureFeatureWarning,
    RecipeError,
    SourceRootError,
    parse_recipe,
    read_recipes,
)
from hive_datasets.recipe import RECIPE_TYPE


@pytest.fixture
def dataset(demo, demo_recipes):
    features = Features({"index": Value("int32"), "mixture": Mixture(dataset_paths=demo / "sources")})
    rows = [{"index": i, "mixture": recipe} for i, recipe in enumerate(demo_recipes[:6])]
    return Dataset.from_list(rows, features=features)


@pytest.fixture
def expected(demo, demo_recipes):
    mixer = Mixer(demo / "sources")
    return [mixer(recipe)["mix"] for recipe in demo_recipes[:6]]


def mixes(rows):
    return [np.asarray(row["mixture"]["mix"]) for row in rows]


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_decoded_value(dataset, demo_recipes, expected):
    value = dataset[0]["mixture"]
    assert set(value) == {"mix", "sources", "sampling_rate", "num_samples", "labels", "recipe"}
    assert value["mix"].dtype == value["sources"].dtype == np.float32
    assert value["mix"].shape == (176400,)
    assert value["sources"].shape == (demo_recipes[0].num_sources, 176400)
    assert value["sampling_rate"] == 44100
    assert parse_recipe(value["recipe"]) == demo_recipes[0]
    np.testing.assert_array_equal(value["mix"], expected[0])
    np.testing.assert_allclose(value["sources"].sum(0), value["mix"], rtol=0, atol=1e-6)


def test_what_is_stored_is_the_recipe(dataset, demo_recipes):
    assert dataset.data.schema.field("mixture").type == RECIPE_TYPE
    stored = dataset.cast_column("mixture", Mixture(decode=False))[0]["mixture"]
    assert {**stored, "origin": None} == {**demo_recipes[0].to_dict(), "origin": None}
    assert isinstance(stored["origin"], int)  # where it came from, as a number that says nothing elsewhere
    assert next(iter(dataset.to_iterable_dataset().decode(False)))["mixture"] == stored


def test_rendering_options_through_cast_column(dataset, demo):
    cast = dataset.cast_column("mixture", Mixture(16000, "unscaled", dataset_paths=demo / "sources"))
    value = cast[0]["mixture"]
    assert (value["sampling_rate"], value["mix"].shape) == (16000, (64000,))
    factor = parse_recipe(value["recipe"]).global_normalization_factor
    np.testing.assert_allclose(value["sources"].sum(0) * factor, value["mix"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"sampling_rate": -1}, {"stems": "both"}, {"on_error": "ignore"}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="must be"):
        Mixture(**options)


def test_map_and_filter_keep_the_feature_and_the_recipe(dataset, expected):
    """Also where the function has looked at the audio: the column is written back as the recipe it came from."""
    mapped = dataset.map(lambda row: {"peak": float(np.abs(row["mixture"]["mix"]).max())})
    assert isinstance(mapped.features["mixture"], Mixture)
    assert mapped.data.schema.field("mixture").type == RECIPE_TYPE
    assert mapped["peak"][:2] == pytest.approx([0.95, 0.95], abs=1e-5)
    assert_same(mixes(mapped), expected)
    kept = mapped.filter(lambda row: row["mixture"]["mix"][0] < 2 and row["index"] > 2)
    assert_same(mixes(kept), expected[3:])


@pytest.mark.parametrize("format_type", ["numpy", "torch"])
def test_map_in_a_format_loses_no_precision_of_the_recipe(dataset, expected, format_type):
    pytest.importorskip(format_type)
    mapped = dataset.with_format(format_type).map(lambda row: {"rate": row["mixture"]["sampling_rate"]})
    assert_same(mixes(mapped.with_format(None)), expected)


def test_map_in_processes(dataset, expected):
    mapped = dataset.map(lambda row: {"first": float(row["mixture"]["mix"][1000])}, num_proc=2)
    assert mapped["first"][:] == pytest.approx([float(mix[1000]) for mix in expected])
    assert_same(mixes(mapped), expected)


def test_numpy_format(dataset, expected):
    assert_same(mixes(dataset.with_format("numpy")), expected)


def test_torch_format(dataset, expected):
    torch = pytest.importorskip("torch")
    row = dataset.with_format("torch")[0]
    assert isinstance(row["mixture"]["mix"], torch.Tensor)
    assert row["mixture"]["sources"].dtype == torch.float32
    np.testing.assert_array_equal(row["mixture"]["mix"].numpy(), expected[0])
    streamed = next(iter(dataset.to_iterable_dataset().with_format("torch")))
    np.testing.assert_array_equal(streamed["mixture"]["mix"].numpy(), expected[0])


def test_streams(dataset, expected):
    stream = dataset.to_iterable_dataset(num_shards=3)
    assert_same(mixes(stream), expected)
    assert_same(mixes(stream.decode(num_threads=3)), expected)
    assert_same(mixes(stream.map(lambda row: {"length": len(row["mixture"]["mix"])})), expected)
    assert_same(
        [mix for batch in stream.iter(2) for mix in mixes([{"mixture": m} for m in batch["mixture"]])], expected
    )
    shuffled = stream.shuffle(seed=3, buffer_size=4)
    order = [row["index"] for row in shuffled]
    assert sorted(order) == list(range(6))
    assert order != list(range(6))
    assert_same(mixes(shuffled), [expected[i] for i in order])


@pytest.mark.xfail(
    parse(datasets.__version__) < parse("4.8.5"),
    strict=True,
    reason="before 4.8.5, filter on a stream hands on what is stored instead of what was decoded",
)
def test_a_filtered_stream_stays_decoded(dataset, expected):
    stream = dataset.to_iterable_dataset()
    assert_same(mixes(stream.filter(lambda row: row["mixture"]["mix"][0] < 2)), expected)


def test_choosing_on_recipes_renders_nothing(dataset, demo_recipes):
    nowhere = dataset.cast_column("mixture", Mixture(dataset_paths={"AudioSet": "/nowhere"}))
    undecoded = nowhere.to_iterable_dataset().decode(False)
    assert len(list(undecoded.filter(lambda row: row["mixture"]["num_sources"] == 2))) == 2


def test_a_shuffle_buffer_holds_recipes(dataset):
    """A buffer that decoded would fail here, where no audio exists."""
    nowhere = dataset.cast_column("mixture", Mixture(decode=False, dataset_paths={"AudioSet": "/nowhere"}))
    assert len(list(nowhere.to_iterable_dataset().shuffle(seed=0, buffer_size=4))) == 6


def test_to_disk_and_parquet_and_back(dataset, expected, tmp_path):
    with pytest.warns(MixtureFeatureWarning):
        dataset.save_to_disk(tmp_path / "disk")
    dataset.to_parquet(tmp_path / "table.parquet")
    for back in (
        load_from_disk(tmp_path / "disk"),
        Dataset.from_parquet(str(tmp_path / "table.parquet"), cache_dir=str(tmp_path / "cache")),
        load_dataset("parquet", data_files=str(tmp_path / "table.parquet"), split="train", streaming=True),
    ):
        assert isinstance(back.features["mixture"], Mixture)
        assert_same(mixes(back), expected)


@pytest.mark.filterwarnings("ignore::hive_datasets.MixtureFeatureWarning")
def test_roots_are_in_no_file(dataset, demo, tmp_path):
    dataset.save_to_disk(tmp_path / "disk")
    dataset.to_parquet(tmp_path / "table.parquet")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert str(demo).encode() not in file.read_bytes()
    assert str(demo) not in json.dumps(dataset.features.to_dict())
    assert "sources" not in repr(dataset.features)


def test_roots_change_at_once(dataset, demo, monkeypatch, tmp_path):
    recipes = dataset.cast_column("mixture", Mixture(decode=False))["mixture"][:]
    rows = {"mixture": [{**recipe, "origin": None} for recipe in recipes]}
    dataset = Dataset.from_dict(rows, features=Features({"mixture": Mixture()}))
    stream = iter(dataset.to_iterable_dataset())
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(demo / "sources"))
    next(stream)["mixture"]["mix"]
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(tmp_path))
    with pytest.raises(SourceRootError, match="there is no such folder"):
        next(stream)["mixture"]["mix"]
    monkeypatch.setenv("HIVE_DATASET_PATHS", json.dumps({"AudioSet": "x"}))
    with pytest.raises(SourceRootError, match="no source root fits"):
        dataset[1]["mixture"]["mix"]


def test_roots_travel_with_a_pickled_or_copied_feature(demo, demo_recipes, expected):
    mixture = Mixture(dataset_paths=demo / "sources")
    for other in (pickle.loads(pickle.dumps(mixture)), copy.deepcopy(mixture)):
        np.testing.assert_array_equal(other.decode_example(demo_recipes[0].to_dict())["mix"], expected[0])
        assert other == mixture


def read_in_worker(dataset, queue):
    queue.put((os.getpid(), [float(row["mixture"]["mix"][1000]) for row in dataset]))


def test_a_spawned_process_reads_the_same(dataset, expected):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=read_in_worker, args=(dataset.to_iterable_dataset(), queue))
    worker.start()
    pid, values = queue.get(timeout=120)
    worker.join()
    assert pid != os.getpid()
    assert values == [float(mix[1000]) for mix in expected]


def test_encode_takes_every_shape(demo_recipes, hive_rows):
    recipe = demo_recipes[0]
    for value in (recipe, recipe.to_dict(), recipe.to_json()):
        assert Mixture().encode_example(value) == {**recipe.to_dict(), "origin": None}
    assert Mixture().encode_example(hive_rows[0])["num_sources"] == 2
    with pytest.raises(RecipeError, match="mix_id is missing"):
        Mixture().encode_example({})


def test_cast_storage_takes_every_stored_shape(hive_rows):
    recipes = [recipe.to_dict() for recipe in read_recipes(hive_rows)]
    stored = pa.array(recipes, RECIPE_TYPE)
    for storage in (
        stored,
        pa.array(hive_rows),  # a struct of lists in each
        pa.array(recipes),
        pa.array([json.dumps(row) for row in hive_rows]),
        pa.array([json.dumps(row) for row in hive_rows], pa.large_string()),
        pa.array(
            [{"mix": [0.0], "sources": [[0.0]], "sampling_rate": 1, "recipe": json.dumps(row)} for row in recipes]
        ),
    ):
        assert Mixture().cast_storage(storage).equals(stored)
    with_null = Mixture().cast_storage(pa.array([None, json.dumps(hive_rows[0])]))
    assert with_null.is_null().to_pylist() == [True, False]
    assert Mixture().cast_storage(pa.nulls(2)).type == RECIPE_TYPE
    with pytest.raises(TypeError, match="cannot make mixtures of int64"):
        Mixture().cast_storage(pa.array([1]))


def test_null_mixtures_stay_null(demo_recipes):
    dataset = Dataset.from_list([{"mixture": None}, {"mixture": demo_recipes[0]}], Features({"mixture": Mixture()}))
    assert dataset[0]["mixture"] is None


def test_flatten(dataset):
    with pytest.raises(ValueError, match="Cannot flatten"):
        dataset.flatten()
    flat = dataset.cast_column("mixture", Mixture(decode=False)).flatten()
    assert flat[0]["mixture.num_sources"] == 2


def test_a_decoded_value_is_handed_on(dataset):
    value = dataset[0]["mixture"]
    assert Mixture(dataset_paths="/").decode_example(value) is value
    assert Mixture().encode_example(value) == value


def test_decoding_off_says_so(demo_recipes):
    with pytest.raises(RuntimeError, match="Decoding is off"):
        Mixture(decode=False).decode_example(demo_recipes[0].to_dict())


def test_skip_hands_out_none_and_warns_once_a_file(demo_recipes, tmp_path):
    mixture = Mixture(on_error="skip", dataset_paths=tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert mixture.decode_example(demo_recipes[0].to_dict()) is None
    assert len(caught) == 1
    assert demo_recipes[0].sources[0].path in str(caught[0].message)


def test_skip_does_not_hide_that_nothing_is_configured(demo_recipes):
    with pytest.raises(SourceRootError, match="no source roots are configured"):
        Mixture(on_error="skip").decode_example(demo_recipes[0].to_dict())


def test_the_name_survives_a_second_registration():
    assert Features.from_dict({"mixture": {"_type": "Mixture", "sampling_rate": 8000}})["mixture"] == Mixture(8000)
    assert datasets.features.features._FEATURE_TYPES["Mixture"] is Mixture
