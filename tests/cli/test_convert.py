import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hive_datasets import read_recipes
from hive_datasets.cli.main import main
from hive_datasets.recipe import writing
from hive_datasets.recipe.schema import HUB_SCHEMA


def convert(source, out, *options):
    return main(["convert", "--quiet", str(source), "--out", str(out), *options])


def by_id(path):
    return sorted(read_recipes(path), key=lambda recipe: (recipe.split, recipe.mix_id))


def tree(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")}


def test_json_to_parquet_to_json(shared, tmp_path, capsys):
    """The authors' tree comes back as the same files with the same content."""
    source = shared / "mini" / "json"
    assert convert(source, tmp_path / "hub") == 0
    assert capsys.readouterr().out == f"64 mixtures written to {tmp_path}/hub\n"
    assert sorted(tree(tmp_path / "hub")) == ["test/data.parquet", "train/data.parquet", "validation/data.parquet"]
    assert by_id(tmp_path / "hub") == by_id(source)
    assert convert(tmp_path / "hub", tmp_path / "json") == 0
    back, original = tree(tmp_path / "json"), tree(source)
    assert back.keys() == original.keys()
    for name in back:
        assert json.loads(back[name]) == json.loads(original[name])


def test_parquet_is_written_as_the_hub_publishes_it(shared, tmp_path, demo):
    assert convert(shared / "mini" / "json", tmp_path / "hub") == 0
    ours, theirs = (
        pq.read_table(folder / "test" / "data.parquet") for folder in (tmp_path / "hub", shared / "mini" / "hub")
    )
    assert ours.schema.equals(HUB_SCHEMA)
    assert sorted(ours.to_pylist(), key=str) == sorted(theirs.select(HUB_SCHEMA.names).to_pylist(), key=str)


@pytest.mark.parametrize("name", ["all.parquet", "all.json", "all.jsonl"])
def test_to_one_file(shared, tmp_path, name):
    source = shared / "hive_rows.json"
    assert convert(source, tmp_path / name) == 0
    assert by_id(tmp_path / name) == by_id(source)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_to_the_same_kind(demo, tmp_path):
    assert convert(demo / "metadata", tmp_path / "a", "--to", "parquet") == 0
    assert by_id(tmp_path / "a") == by_id(demo / "metadata")


def test_many_rows_are_split_into_files_and_row_groups(demo_recipes, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "JSON_FILE_ROWS", 4)
    monkeypatch.setattr(writing, "ROW_GROUP_ROWS", 7)
    (tmp_path / "rows.jsonl").write_text("".join(recipe.to_json() + "\n" for recipe in demo_recipes))
    assert convert(tmp_path / "rows.jsonl", tmp_path / "rows.parquet") == 0
    metadata = pq.read_metadata(tmp_path / "rows.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [7, 7, 7, 3]
    assert metadata.row_group(0).column(0).has_offset_index  # a page index, as the Hub's viewer wants it
    assert convert(tmp_path / "rows.parquet", tmp_path / "json") == 0
    assert [file.name for file in sorted((tmp_path / "json" / "train" / "2mix").iterdir())] == [
        "train_2mix_metadata_tar0001.json",
        "train_2mix_metadata_tar0002.json",
    ]
    assert by_id(tmp_path / "json") == by_id(tmp_path / "rows.jsonl")


def test_a_fault_leaves_nothing_behind(tmp_path, demo_recipes, capsys):
    rows = [recipe.to_dict() for recipe in demo_recipes]
    rows[-1]["sources"][0]["snr_db"] = None
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    for target in ("out.parquet", "out.json", "out"):
        assert convert(tmp_path / "rows.json", tmp_path / target) == 2
        assert "rows.json, mixture sample_00000023, source s1: snr_db is missing" in capsys.readouterr().err
        assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_broken_parquet(tmp_path, capsys, content):
    (tmp_path / "a.parquet").write_bytes(content)
    assert convert(tmp_path / "a.parquet", tmp_path / "out") == 2
    assert "a.parquet: not a parquet file" in capsys.readouterr().err


def test_nothing_is_overwritten(demo, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit) as stopped:
        convert(demo / "metadata", tmp_path / "out")
    assert stopped.value.code == 2
    assert "exists" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        convert(demo / "metadata", tmp_path / "out.json", "--to", "parquet")
    assert stopped.value.code == 2


def test_no_metadata(tmp_path, capsys):
    assert convert(tmp_path, tmp_path / "out") == 2
    assert "no metadata there" in capsys.readouterr().err


def test_from_the_shell(demo, tmp_path, subprocess_environment):
    script = Path(sys.executable).parent / "hive-datasets"
    command = [script, "convert", demo / "metadata", "-o", tmp_path / "out.jsonl"]
    result = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"40 mixtures written to {tmp_path}/out.jsonl\n"
    assert "40/40" in result.stderr  # progress


def test_what_a_killed_run_left_goes_away(demo, tmp_path, capsys):
    left, others = tmp_path / ".out.abc.incomplete", tmp_path / ".other.abc.incomplete"
    for folder in (left, others):
        folder.mkdir()
        (folder / "half").touch()
        os.utime(folder, (0, 0))
    assert main(["convert", str(demo / "metadata"), "-o", str(tmp_path / "out"), "--to", "json", "--quiet"]) == 0
    assert not left.exists() and others.exists()
