import json

import datasets
import pyarrow.parquet as pq
import pytest
import yaml

from hive_datasets import Subset, list_corpora, load_dataset, read_recipes, write_package
from hive_datasets.errors import MetadataUnavailableError, OutputError, RecipeError
from hive_datasets.export import package
from hive_datasets.export.card import check_licence
from hive_datasets.recipe import reading


@pytest.mark.parametrize("source", ["hub", "json"])
def test_both_loaders_read_it(shared, corpora, mini, tmp_path, cache, source):
    result = write_package(shared / "mini" / source, tmp_path / "hive", rows_per_shard=10)
    assert (result.mixtures, result.files) == (64, 7)
    recipes = {split: [r for r in mini if r.split == split] for split in ("train", "validation", "test")}
    plain = datasets.load_dataset(str(result.folder), cache_dir=cache)
    ours = load_dataset("hive", data_dir=str(result.folder), dataset_paths=str(corpora), streaming=True)
    for split, expected in recipes.items():
        order = {recipe.mix_id: recipe for recipe in expected}
        assert sorted(plain[split]["mix_id"]) == sorted(order)
        assert list(plain[split].features["sources"]) == list(pq.read_schema(_first(result, split)).field(5).type.names)
        rows = list(ours[split].decode(False))
        assert [row["mix_id"] for row in rows] == list(plain[split]["mix_id"])
        assert {row["mix_id"]: row["labels"] for row in rows} == {k: recipe.labels for k, recipe in order.items()}
    assert sorted(read_recipes(result.folder), key=str) == sorted(mini, key=str)


def _first(result, split):
    return sorted((result.folder / split).iterdir())[0]


@pytest.mark.parametrize(("rows", "files"), [(1, 48), (12, 4), (47, 2), (48, 1), (1000, 1)])
def test_shards(metadata, tmp_path, monkeypatch, rows, files):
    monkeypatch.setattr(package, "ROW_GROUP_ROWS", 5)
    result = write_package(Subset(metadata, splits=["train"]), tmp_path / "out", rows_per_shard=rows)
    names = sorted(path.name for path in (tmp_path / "out" / "train").iterdir())
    assert names == [f"data-{number:05d}-of-{files:05d}.parquet" for number in range(files)]
    assert result.num_bytes == sum(path.stat().st_size for path in (tmp_path / "out" / "train").iterdir())
    found = [recipe.mix_id for recipe in read_recipes(tmp_path / "out")]
    assert found == [recipe.mix_id for recipe in Subset(metadata, splits=["train"]).recipes()]
    for path in (tmp_path / "out" / "train").iterdir():
        parquet = pq.ParquetFile(path).metadata
        groups = [parquet.row_group(number) for number in range(parquet.num_row_groups)]
        assert all(group.num_rows == 5 for group in groups[:-1])
        assert all(group.column(0).has_offset_index for group in groups)


def test_shards_that_are_filled_by_many_tables(metadata, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_ROWS", 6)
    write_package(Subset(metadata, splits=["train"]), tmp_path / "out", rows_per_shard=12)
    files = sorted((tmp_path / "out" / "train").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [12] * 4


def test_the_card_and_nothing_else(metadata, tmp_path):
    write_package(metadata, tmp_path / "out", title="Mine", name="me/mine", licence="cc-by-4.0")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "test", "train", "validation"]
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".md", ".parquet"}
    _, header, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    header = yaml.safe_load(header)
    assert (header["license"], header["pretty_name"]) == ("cc-by-4.0", "Mine")
    assert header["configs"][0]["default"] is True
    assert header["configs"][0]["data_files"][0] == {"split": "train", "path": "train/*.parquet"}
    counts = {split["name"]: split["num_examples"] for split in header["dataset_info"]["splits"]}
    assert counts == {"train": 48, "validation": 8, "test": 8}
    assert text.startswith("\n# Mine\n")
    assert 'data_dir="hf://datasets/me/mine"' in text
    assert "64 mixtures" in text


def test_licences_are_the_hubs(metadata, tmp_path):
    with pytest.raises(ValueError, match=r"'CC BY 4\.0' is none of the Hub's licences\. Nearest: cc-by-4\.0"):
        write_package(metadata, tmp_path / "out", licence="CC BY 4.0")
    with pytest.raises(ValueError, match="licence_name and licence_link are for licence='other', not 'mit'"):
        write_package(metadata, tmp_path / "out", licence="mit", licence_name="x")
    assert not (tmp_path / "out").exists()
    write_package(metadata, tmp_path / "out")
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert header["license_link"] == "LICENSE.md" and (tmp_path / "out" / "LICENSE.md").exists()
    write_package(metadata, tmp_path / "mine", licence_name="my-terms", licence_link="https://example.org/terms")
    header = yaml.safe_load((tmp_path / "mine" / "README.md").read_text().split("---\n")[1])
    assert header["license"] == "other" and header["license_name"] == "my-terms"
    assert header["license_link"] == "https://example.org/terms" and not (tmp_path / "mine" / "LICENSE.md").exists()


def test_every_licence_of_the_registry_is_the_hubs():
    assert all(check_licence(corpus.licence_id) for corpus in list_corpora())


def test_the_card_says_what_was_chosen(metadata, demo, tmp_path):
    write_package(Subset(metadata, labels=["Bark"], num_sources=2), tmp_path / "a")
    assert "at which gain (only num_sources: 2; labels: Bark)." in (tmp_path / "a" / "README.md").read_text()
    write_package(demo / "metadata", tmp_path / "b")
    text = (tmp_path / "b" / "README.md").read_text()
    assert "Every sound is generated" in text
    assert "- original" in text


def test_errors_leave_nothing(metadata, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OutputError, match="is there already"):
        write_package(metadata, tmp_path / "full")
    with pytest.raises(MetadataUnavailableError):
        write_package(Subset(metadata, splits=["dev2"]), tmp_path / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        write_package(metadata, "/proc/out")
    with pytest.raises(ValueError):
        write_package(metadata, tmp_path / "out", rows_per_shard=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["extra", "../../escaped", "/tmp/absolute", "all", "my-split"])
def test_splits_that_a_loader_would_not_read(mini, tmp_path, split):
    rows = [{**mini[0].to_dict(), "split": split}]
    (tmp_path / "m.json").write_text(json.dumps(rows))
    with pytest.raises(RecipeError, match=f"split {split!r} cannot be packaged"):
        write_package(tmp_path / "m.json", tmp_path / "deep" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) in (["deep", "m.json"], ["m.json"])
    assert not list((tmp_path / "deep").iterdir())
