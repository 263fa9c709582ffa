"""``load_dataset("hive", ...)``: splits, configurations, filters, caching, sharding, resuming."""

import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path

import datasets
import datasets.distributed
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

import hive_datasets
from hive_datasets import MetadataUnavailableError, Mixer, Mixture, RecipeError, UnknownLabelError, read_recipes
from hive_datasets.recipe import reading
from hive_datasets.recipe.tables import hub_from_table, table_from_recipes


def ids(rows):
    return [row["mix_id"] for row in rows]


def load(metadata, roots=None, **options):
    return load_dataset("hive", data_dir=str(metadata), dataset_paths=roots, streaming=True, **options)


@pytest.fixture
def train(demo):
    return load(demo / "metadata", demo / "sources", split="train")


def test_the_library_offers_the_same_function():
    assert hive_datasets.load_dataset is load_dataset


def test_other_datasets_load_as_ever(tmp_path):
    (tmp_path / "a.json").write_text('{"x": 1}\n')
    loaded = load_dataset("json", data_files=str(tmp_path / "a.json"), split="train", streaming=True)
    assert list(loaded) == [{"x": 1}]


@pytest.mark.parametrize("layout", ["hub", "json"])
def test_mini_in_both_layouts(shared, corpora, layout):
    splits = load(shared / "mini" / layout, str(corpora))
    recipes = list(read_recipes(shared / "mini" / layout))
    mixer = Mixer(corpora)
    assert set(splits) == {"train", "validation", "test"}
    for split, stream in splits.items():
        expected = {recipe.mix_id: recipe for recipe in recipes if recipe.split == split}
        rows = list(stream)
        assert sorted(ids(rows)) == sorted(expected)
        for row in rows:
            recipe = expected[row["mix_id"]]
            assert (row["num_sources"], row["labels"]) == (recipe.num_sources, recipe.labels)
            np.testing.assert_array_equal(row["mixture"]["mix"], mixer(recipe)["mix"])


def test_columns(train):
    assert list(train.features) == ["mix_id", "num_sources", "labels", "mixture"]
    assert train.features["labels"].feature == datasets.Value("string")
    assert isinstance(train.features["mixture"], Mixture)


def test_not_streaming_is_the_same(demo, train, cache):
    loaded = load_dataset(
        "hive", data_dir=str(demo / "metadata"), dataset_paths=str(demo / "sources"), split="train", cache_dir=cache
    )
    assert list(loaded.features) == list(train.features)
    assert len(loaded) == 24
    for a, b in zip(loaded, train, strict=True):
        assert a["mix_id"] == b["mix_id"]
        np.testing.assert_array_equal(a["mixture"]["mix"], b["mixture"]["mix"])


def test_metadata_by_file_glob_list_mapping_and_url(demo):
    parquet = demo / "metadata" / "test" / "data.parquet"
    whole = ids(load(parquet)["test"].decode(False))
    assert len(whole) == 8
    for options in (
        {"data_files": {"test": str(parquet)}},
        {"data_files": {"test": [str(parquet)]}},
        {"data_files": {"test": f"{parquet.parent}/*.parquet"}},
        {"data_files": {"test": f"file://{parquet}"}},
        {"data_files": {"test": "test/*.parquet"}, "data_dir": str(demo / "metadata")},
        {"data_files": {"few": str(parquet)}},  # a name of one's own
    ):
        stream = load_dataset("hive", streaming=True, split=next(iter(options["data_files"])), **options)
        assert ids(stream.decode(False)) == whole
    for data_dir in (parquet.parent, f"file://{parquet.parent}", f"{parquet.parent}/*.parquet"):
        assert ids(load(data_dir, split="test").decode(False)) == whole


def test_no_metadata(tmp_path):
    (tmp_path / "empty").mkdir()
    for options in (
        {"data_dir": str(tmp_path / "empty")},
        {"data_dir": "/nowhere"},
        {"data_files": str(tmp_path / "none.parquet")},
    ):
        with pytest.raises(MetadataUnavailableError, match="no metadata"):
            load_dataset("hive", streaming=True, **options)


def test_a_fault_in_the_metadata_ends_the_stream_with_its_place(demo_recipes, tmp_path):
    table = table_from_recipes(demo_recipes[:4]).to_pylist()
    table[2]["sources"][1]["crop_end_second"] = -1.0
    rows = hub_from_table(table_from_recipes([])).from_pylist(table, table_from_recipes([]).schema)
    pq.write_table(rows, tmp_path / "train.parquet")
    stream = load(tmp_path, split="train").decode(False)
    with pytest.raises(
        RecipeError, match=r"train.parquet, mixture sample_00000002, source s2: crop_end_second is -1.0"
    ):
        list(stream)


def test_configurations(demo, cache):
    metadata = demo / "metadata"
    everything = list(load(metadata, split="train").decode(False))
    for n in range(2, 6):
        stream = load_dataset("hive", f"{n}mix", data_dir=str(metadata), split="train", streaming=True).decode(False)
        assert ids(stream) == [row["mix_id"] for row in everything if row["num_sources"] == n]
    with pytest.raises(ValueError, match="contradicts"):
        load_dataset("hive", "2mix", data_dir=str(metadata), num_sources=3, streaming=True)
    with pytest.raises(ValueError, match="not found"):
        load_dataset("hive", "6mix", data_dir=str(metadata), streaming=True)


@pytest.mark.parametrize("layout", ["hub", "json"])
def test_choosing_rows_renders_nothing(shared, layout):
    """There is no audio here at all."""
    metadata, roots = shared / "mini" / layout, {"AudioSet": "/nowhere"}
    rows = [r for r in read_recipes(metadata) if r.split == "train"]

    def chosen(**options):
        return sorted(ids(load(metadata, roots, split="train", **options).decode(False)))

    def expected(condition):
        found = sorted(r.mix_id for r in rows if condition(r))
        assert 0 < len(found) < len(rows)
        return found

    assert chosen() == sorted(r.mix_id for r in rows)
    assert chosen(num_sources=3) == expected(lambda r: r.num_sources == 3)
    assert chosen(num_sources=[2, 5]) == expected(lambda r: r.num_sources in (2, 5))
    assert chosen(labels="Rain") == expected(lambda r: "Rain" in r.labels)
    assert chosen(labels=["Rain", "Bark"]) == expected(lambda r: {"Rain", "Bark"} & set(r.labels))
    assert chosen(num_sources=4, labels=["Clock"]) == expected(lambda r: r.num_sources == 4 and "Clock" in r.labels)
    assert chosen(filters=[("num_sources", ">", 3), ("mix_id", "<", "sample_00000020")]) == expected(
        lambda r: r.num_sources > 3 and r.mix_id < "sample_00000020"
    )
    loud = pc.field("global_normalization_factor") > 0.5
    assert chosen(filters=loud) == expected(lambda r: r.global_normalization_factor > 0.5)


@pytest.mark.parametrize("layout", ["hub", "json"])
@pytest.mark.parametrize("term", [("snr", ">", 1), ("num_sources", ">", "2")])
def test_filters_that_do_not_fit(shared, layout, term):
    with pytest.raises(
        ValueError, match=r"filters do not fit the metadata, whose columns are mix_id \(string\), split"
    ):
        list(load(shared / "mini" / layout, split="train", filters=[term]).decode(False))


@pytest.mark.parametrize(
    "options", [{"num_sources": n} for n in ("2", 2.0, [2, "3"], [], -1)] + [{"labels": 3}, {"labels": []}]
)
def test_choices_that_make_no_sense(demo, options):
    with pytest.raises(ValueError, match="must be a"):
        load(demo / "metadata", **options)


def test_a_stream_renders_as_asked_whatever_was_cached_before(demo, cache):
    options = {"data_dir": str(demo / "metadata"), "dataset_paths": str(demo / "sources"), "split": "test"}
    load_dataset("hive", cache_dir=cache, sampling_rate=8000, on_error="skip", stems="unscaled", **options)
    stream = load_dataset("hive", cache_dir=cache, streaming=True, **options)
    assert stream.features["mixture"] == Mixture()
    assert next(iter(stream))["mixture"]["mix"].shape == (441000,)
    skipping = load_dataset("hive", cache_dir=cache, streaming=True, sampling_rate=16000, on_error="skip", **options)
    assert next(iter(skipping))["mixture"]["mix"].shape == (160000,)


def test_filters_are_pushed_down_to_row_groups(demo_recipes, tmp_path, monkeypatch):
    by_count = sorted(demo_recipes, key=lambda recipe: recipe.num_sources)
    pq.write_table(hub_from_table(table_from_recipes(by_count)), tmp_path / "train.parquet", row_group_size=6)
    stream = load(tmp_path, split="train", num_sources=4).decode(False)
    read = []
    original = reading.table_from_hub
    monkeypatch.setattr(reading, "table_from_hub", lambda table, file: read.append(len(table)) or original(table, file))
    assert len(list(stream)) == sum(read) == 6


def test_json_files_of_other_numbers_of_sources_are_not_opened(shared, tmp_path):
    shutil.copytree(shared / "mini" / "json", tmp_path / "json")
    for file in tmp_path.glob("json/*/3mix/*.json"):
        file.chmod(0o644)
        file.write_text("broken")
    assert len(list(load(tmp_path / "json", split="train", num_sources=2).decode(False))) == 12
    with pytest.raises(RecipeError):
        list(load(tmp_path / "json", split="train", num_sources=3).decode(False))


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("layout", ["hub", "json"])
def test_nothing_to_choose_is_an_error(shared, corpora, layout, streaming):
    def choose(**options):
        metadata = str(shared / "mini" / layout)
        options = {"split": "train", "streaming": streaming, "dataset_paths": corpora, **options}
        return load_dataset("hive", data_dir=metadata, **options)

    with pytest.raises(UnknownLabelError, match=r"no mixture has the label 'Brak'\. Nearest: 'Bark'"):
        choose(labels=["Rain", "Brak"])
    with pytest.raises(MetadataUnavailableError, match="there is no mixture of 7 sources"):
        choose(num_sources=7)
    with pytest.raises(MetadataUnavailableError, match="there is no mixture with filters="):
        choose(filters=[("mix_id", "==", "none")])
    with pytest.raises(MetadataUnavailableError, match="mixture"):  # there are some, of another split
        choose(filters=[("split", "==", "test")])
    assert len(list(choose(filters=[("split", "==", "test")], split=None)["test"])) == 8


@pytest.mark.parametrize("streaming", [True, False])
def test_labels_that_a_split_lacks(demo, streaming):
    """One that another split has is no slip."""
    recipes = list(read_recipes(demo / "metadata"))
    labels = {split: {label for r in recipes if r.split == split for label in r.labels} for split in ("train", "test")}
    both = [min(labels["train"] - labels["test"]), min(labels["test"])]
    options = {"data_dir": str(demo / "metadata"), "split": "test", "streaming": streaming}
    assert next(iter(load_dataset("hive", dataset_paths=demo / "sources", labels=both, **options)))
    with pytest.raises(MetadataUnavailableError, match="no mixture of split 'test' was asked for"):
        load_dataset("hive", labels=both[:1], **options)
    if not streaming:
        options["split"] = ["train", "test"]
        with pytest.raises(MetadataUnavailableError, match="no mixture of split"):
            load_dataset("hive", labels=both[:1], **options)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_file_that_is_named_twice_is_read_once(demo, streaming):
    place = demo / "metadata" / "test"
    files = {"test": [str(place / "data.parquet"), f"{place}/*.parquet"]}
    assert (
        len(list(load_dataset("hive", data_files=files, split="test", streaming=streaming).select_columns("mix_id")))
        == 8
    )


def test_a_builder_may_stream_after_it_has_prepared(tmp_path):
    builder = datasets.load_dataset_builder("hive", "demo", cache_dir=str(tmp_path))
    builder.download_and_prepare()
    assert next(iter(builder.as_streaming_dataset(split="test")))["mixture"]["mix"].shape == (441_000,)


@pytest.mark.parametrize("streaming", [True, False])
def test_rows_of_another_split_are_refused(shared, streaming):
    with pytest.raises(
        RecipeError, match=r"mixture sample_\d+ is of split .*, and would be loaded as 'train'"
    ) as raised:
        list(
            load_dataset(
                "hive",
                data_dir=str(shared / "mini" / "hub"),
                data_files="*/data.parquet",
                split="train",
                streaming=streaming,
            )
        )
    assert raised.value.where.endswith(".parquet") and raised.value.mix_id


def test_what_datasets_asks_about_a_dataset(shared, monkeypatch):
    names = ["default", "2mix", "3mix", "4mix", "5mix", "demo"]
    assert datasets.get_dataset_config_names("hive") == names
    assert datasets.get_dataset_default_config_name("hive") == "default"
    assert datasets.get_dataset_split_names("hive", "demo") == ["train", "validation", "test"]
    info = datasets.get_dataset_config_info("hive", "demo")
    assert isinstance(info.features["mixture"], Mixture)


def test_a_stream_written_as_parquet_keeps_its_type(train, tmp_path):
    train.to_parquet(str(tmp_path / "table.parquet"))
    back = load_dataset("parquet", data_files=str(tmp_path / "table.parquet"), split="train", streaming=True)
    np.testing.assert_array_equal(next(iter(back))["mixture"]["mix"], next(iter(train))["mixture"]["mix"])


def test_one_file_feeds_many_workers(demo):
    stream = load(demo / "metadata", demo / "sources", split="train").decode(False)
    assert stream.num_shards >= 8
    whole = ids(stream)
    parts = [ids(stream.shard(num_shards=8, index=index)) for index in range(8)]
    assert all(parts)
    assert sorted(itertools.chain(*parts)) == sorted(whole)
    for rank in range(2):
        node = datasets.distributed.split_dataset_by_node(stream, rank=rank, world_size=2)
        assert ids(node) == [i for index in range(rank, 8, 2) for i in ids(stream.shard(8, index))]


def test_large_files_are_sharded_by_row_group(demo_recipes, tmp_path):
    table = hub_from_table(table_from_recipes(demo_recipes))
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=1)
    stream = load(tmp_path, split="train").decode(False)
    assert stream.num_shards == 24
    assert ids(stream) == [recipe.mix_id for recipe in demo_recipes]


@pytest.mark.parametrize("consumed", [1, 5, 13, 23])
def test_resuming_is_exact_and_renders_nothing_twice(train, consumed, monkeypatch):
    def numbered(stream):
        return [(row["mix_id"], float(row["mixture"]["mix"][1000])) for row in stream]

    whole = numbered(train)
    iterator = iter(train)
    first = [next(iterator)["mix_id"] for _ in range(consumed)]
    state = json.loads(json.dumps(train.state_dict()))
    train.load_state_dict(state)
    rendered = []
    original = Mixer.__call__
    monkeypatch.setattr(
        Mixer, "__call__", lambda self, recipe: rendered.append(recipe.mix_id) or original(self, recipe)
    )
    rest = numbered(train)
    assert [*first, *(mix_id for mix_id, _ in rest)] == [mix_id for mix_id, _ in whole]
    assert rest == whole[consumed:]
    assert rendered == [mix_id for mix_id, _ in rest]


def tables_in(cache):
    return sorted(Path(cache).rglob("*.arrow"))


def test_the_table_is_cached_once_whatever_the_roots_and_the_rendering(demo, cache, tmp_path, monkeypatch):
    def loaded(**options):
        return load_dataset("hive", data_dir=str(demo / "metadata"), split="train", cache_dir=cache, **options)

    first = loaded(dataset_paths=str(demo / "sources"))
    tables = tables_in(cache)
    assert len(tables) == 3
    for options, length in (
        ({"dataset_paths": {"AudioSet": "/nowhere"}}, None),
        ({"dataset_paths": str(demo / "sources"), "sampling_rate": 16000}, 64000),
        ({"dataset_paths": str(demo / "sources"), "stems": "unscaled"}, 176400),
        ({"dataset_paths": str(demo / "sources"), "on_error": "skip"}, 176400),
    ):
        again = loaded(**options)
        assert tables_in(cache) == tables
        if length:
            assert again[0]["mixture"]["mix"].shape == (length,)
            assert again._fingerprint != first._fingerprint or options.keys() == {"dataset_paths"}
        else:
            with pytest.raises(hive_datasets.HiveError):
                again[0]["mixture"]["mix"]
    assert loaded().features["mixture"]._mixer.roots is None
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(demo / "sources"))
    np.testing.assert_array_equal(loaded()[0]["mixture"]["mix"], first[0]["mixture"]["mix"])
    for file in Path(cache).rglob("*"):
        if file.is_file():
            assert str(demo / "sources").encode() not in file.read_bytes()


def test_map_caches_of_one_rate_are_not_served_at_another(demo, cache):
    def lengths(sampling_rate):
        loaded = load_dataset("hive", "demo", split="test", cache_dir=cache, sampling_rate=sampling_rate)
        return loaded.map(lambda row: {"length": len(row["mixture"]["mix"])})["length"][:]

    assert set(lengths(None)) == {441000}
    assert set(lengths(8000)) == {80000}


def test_new_metadata_or_new_filters_or_new_code_make_a_new_table(demo, cache, tmp_path, monkeypatch):
    file = tmp_path / "train.parquet"
    shutil.copy(demo / "metadata" / "train" / "data.parquet", file)

    def count(**options):
        return len(load_dataset("hive", data_dir=str(tmp_path), split="train", cache_dir=cache, **options))

    assert count() == 24
    assert count(num_sources=2) == 6
    assert count(filters=[("num_sources", "==", 3)]) == 6
    assert count(labels="Clock") < 24
    assert count() == 24
    pq.write_table(pq.read_table(file).slice(0, 5), file)
    os.utime(file, (1e9, 1e9))
    assert count() == 5
    before = len(tables_in(cache))
    assert count() == 5
    assert len(tables_in(cache)) == before
    monkeypatch.setattr("hive_datasets.dataset.builder.hash_code", lambda: "other code")
    assert count() == 5
    assert len(tables_in(cache)) == before + 1


def test_loading_in_processes_gives_the_same(demo, cache):
    options = {"data_dir": str(demo / "metadata"), "split": "train", "cache_dir": cache}
    loaded = load_dataset("hive", num_proc=2, **options).cast_column("mixture", Mixture(decode=False))
    assert ids(loaded) == ids(load(demo / "metadata", split="train").decode(False))


def test_rendering_in_processes_gives_the_same(demo, cache):
    loaded = load_dataset("hive", "demo", split="validation", cache_dir=cache)

    def digest(row):
        return {"digest": hashlib.sha256(row["mixture"]["sources"].tobytes()).hexdigest()}

    alone = loaded.map(digest, load_from_cache_file=False)["digest"][:]
    assert loaded.map(digest, num_proc=2, load_from_cache_file=False)["digest"][:] == alone
    assert [digest(row)["digest"] for row in loaded.to_iterable_dataset().decode(num_threads=4)] == alone


def test_a_cast_without_paths_keeps_the_argument_of_the_load(demo):
    stream = load(demo / "metadata", str(demo / "sources"), split="train")
    cast = stream.cast_column("mixture", Mixture(sampling_rate=8000))
    assert next(iter(cast))["mixture"]["mix"].shape == (32000,)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_dataloader_workers(demo, context):
    torch = pytest.importorskip("torch")
    expected = {
        row["mix_id"]: row["mixture"]["mix"] for row in load_dataset("hive", "demo", split="train", streaming=True)
    }
    stream = load(demo / "metadata", str(demo / "sources"), split="train")
    stream = stream.cast_column("mixture", Mixture(on_error="skip")).with_format("torch")
    loader = torch.utils.data.DataLoader(
        stream, batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=True
    )
    for _ in range(2):
        seen = {row["mix_id"]: row["mixture"]["mix"] for row in loader}
        assert seen.keys() == expected.keys()
        for mix_id, mix in seen.items():
            np.testing.assert_array_equal(mix.numpy(), expected[mix_id])
    del loader


def test_the_demo_takes_no_other_metadata(demo):
    with pytest.raises(ValueError, match="demo"):
        load_dataset("hive", "demo", data_dir=str(demo), streaming=True)


def test_the_demo_ignores_the_environment(monkeypatch):
    monkeypatch.setenv("HIVE_DATASET_PATHS", "/nowhere")
    assert len(list(load_dataset("hive", "demo", split="validation", streaming=True))) == 8
