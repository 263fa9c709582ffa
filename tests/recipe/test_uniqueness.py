"""No mixture twice: by hashes in the library, by a dictionary here."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import (
    RecipeError,
    compute_statistics,
    load_dataset,
    read_recipes,
    verify_sources,
    write_mixtures,
)
from hive_datasets.cli.main import main
from hive_datasets.recipe import uniqueness
from hive_datasets.recipe.overlap import check_files
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.recipe.uniqueness import UniqueIds
from hive_datasets.recipe.writing import JsonFileWriter, ParquetFileWriter, write_recipes

IDS = st.text("ab0", max_size=2)


@given(st.lists(st.lists(st.tuples(st.sampled_from(["train", "val", "validation"]), IDS), max_size=5), max_size=4))
def test_as_a_dictionary_finds(files):
    owners = {}
    expected = False
    for number, rows in enumerate(files):
        for split, mix_id in rows:
            key = ("validation" if split == "val" else split, mix_id)
            expected |= owners.setdefault(key, number) != number
    tables = {
        str(number): pa.table({"split": [row[0] for row in rows], "mix_id": [row[1] for row in rows]}, schema=SCHEMA)
        for number, rows in enumerate(files)
    }
    unique = UniqueIds(lambda file: [tables[file]])
    try:
        for file, table in tables.items():
            unique.add(table, file)
        unique.finish()
    except RecipeError as error:
        assert expected and error.mix_id is not None
    else:
        assert not expected


SCHEMA = pa.schema([("split", pa.string()), ("mix_id", pa.string())])


def test_it_is_noticed_long_before_the_end(monkeypatch):
    monkeypatch.setattr(uniqueness, "_FIRST_CHECK", 8)
    table = pa.table({"split": ["train"] * 4, "mix_id": list("abcd")}, schema=SCHEMA)
    unique = UniqueIds(lambda file: [table])
    unique.add(table, "a")
    with pytest.raises(RecipeError, match="mixture a of split train is in a and in b"):
        unique.add(table, "b")


def test_hashes_that_are_the_same_by_chance_are_no_duplicates(monkeypatch):
    monkeypatch.setattr(uniqueness, "_hash_ids", lambda table: uniqueness.np.zeros(len(table), "int64"))
    tables = {name: pa.table({"split": ["train"], "mix_id": [name]}, schema=SCHEMA) for name in "ab"}
    unique = UniqueIds(lambda file: [tables[file]])
    for name, table in tables.items():
        unique.add(table, name)
    unique.finish()


@pytest.fixture
def twice(shared, tmp_path):
    """The same mixtures as parquet and as JSON."""
    shutil.copytree(shared / "mini", tmp_path / "twice")
    return tmp_path / "twice"


@pytest.mark.parametrize(
    "read",
    [
        lambda twice, corpora, out: load_dataset("hive", data_dir=str(twice), streaming=True),
        lambda twice, corpora, out: load_dataset("hive", data_dir=str(twice), cache_dir=str(out)),
        lambda twice, corpora, out: compute_statistics(twice),
        lambda twice, corpora, out: verify_sources(twice, corpora),
        lambda twice, corpora, out: list(read_recipes(twice)),
        lambda twice, corpora, out: write_mixtures(twice, out, dataset_paths=corpora),
    ],
    ids=["stream", "table", "statistics", "verification", "recipes", "rendering"],
)
def test_metadata_that_lies_twice(twice, corpora, tmp_path, read):
    with pytest.raises(
        RecipeError,
        match=r"mixture sample_\d+ of split \w+ is in .*\.(parquet and in .*\.json|json and in .*\.parquet), too",
    ):
        read(twice, corpora, tmp_path / "out")


def test_convert_leaves_nothing(twice, tmp_path, capsys):
    assert main(["convert", str(twice), "-o", str(tmp_path / "out" / "one.jsonl"), "--quiet"]) == 2
    assert "is in" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def open_file(file):
    return Path(file).open("rb")


def write(recipes, file):
    writer = ParquetFileWriter(file, 10) if file.suffix == ".parquet" else JsonFileWriter(file)
    write_recipes([table_from_recipes(recipes)], writer)
    return str(file)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_files_that_overlap_without_sharing(mini, tmp_path, suffix):
    """As those of Hive do where one type of mixture ends and the next begins."""
    train = sorted((recipe for recipe in mini if recipe.split == "train"), key=lambda recipe: recipe.mix_id)
    one = write(train[:20] + train[22:24], tmp_path / f"a{suffix}")
    other = write(train[20:22] + train[24:], tmp_path / f"b{suffix}")
    check_files({one: one, other: other}, open_file)
    shared = write(train[23:26], tmp_path / f"c{suffix}")
    with pytest.raises(RecipeError, match=f"mixture {train[23].mix_id} of split train"):
        check_files({one: one, other: other, shared: shared}, open_file)


def test_json_files_of_several_splits(mini, tmp_path):
    """The first row's split does not stand for the others."""
    rows = {split: next(recipe for recipe in mini if recipe.split == split) for split in ("train", "validation")}
    one = write([rows["train"], replace(rows["validation"], mix_id="x")], tmp_path / "a.jsonl")
    other = write([replace(rows["train"], mix_id="x")], tmp_path / "b.jsonl")
    check_files({one: one, other: other}, open_file)


def test_statistics_are_enough_where_files_do_not_overlap(mini, tmp_path, monkeypatch):
    train = sorted((recipe for recipe in mini if recipe.split == "train"), key=lambda recipe: recipe.mix_id)
    files = [write(train[start : start + 16], tmp_path / f"{start}.parquet") for start in (0, 16, 32)]
    monkeypatch.setattr("hive_datasets.recipe.overlap.read_ids", None)
    check_files({file: file for file in files}, open_file)
