import io
import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import MetadataUnavailableError, RecipeError, parse_recipe, read_recipes
from hive_datasets.recipe import reading
from hive_datasets.recipe.reading import iterate_json, open_parquet, read_row_group
from hive_datasets.recipe.tables import hub_from_table, recipes_from_table, table_from_recipes
from hive_datasets.recipe.writing import legacy_row


def by_id(recipes):
    return sorted(recipes, key=lambda recipe: (recipe.split, recipe.mix_id))


def test_parquet_and_json_tree_hold_the_same(shared):
    hub = list(read_recipes(shared / "mini" / "hub"))
    tree = list(read_recipes(shared / "mini" / "json"))
    assert len(hub) == 64
    assert by_id(hub) == by_id(tree)
    assert {recipe.split for recipe in tree} == {"train", "validation", "test"}


def test_every_way_in(demo, demo_recipes, tmp_path):
    rows = [recipe.to_dict() for recipe in demo_recipes]
    legacy = [legacy_row(row) for row in rows]
    (tmp_path / "array.json").write_text(json.dumps(legacy, indent=1))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "one.json").write_text(json.dumps(rows[0]))
    pq.write_table(hub_from_table(table_from_recipes(demo_recipes)), tmp_path / "structs_of_lists.parquet")
    pq.write_table(table_from_recipes(demo_recipes), tmp_path / "lists_of_structs.parquet")
    for name in ("array.json", "lines.jsonl", "structs_of_lists.parquet", "lists_of_structs.parquet"):
        assert list(read_recipes(tmp_path / name)) == demo_recipes
        assert list(read_recipes(f"file://{tmp_path}/{name}")) == demo_recipes
    assert list(read_recipes(tmp_path / "one.json")) == demo_recipes[:1]
    assert list(read_recipes(rows)) == list(read_recipes(demo_recipes)) == demo_recipes
    assert list(read_recipes(rows[0])) == list(read_recipes(demo_recipes[0])) == demo_recipes[:1]
    assert list(read_recipes(f"file://{demo}/metadata/train")) == demo_recipes


def test_a_file_object_is_read_by_the_caller_alone(tmp_path, demo_recipes):
    """A thread of pyarrow's that lets go of a Python buffer while the interpreter ends aborts the process."""
    readers = set()

    class Stream(io.BytesIO):
        def read(self, size=-1):
            readers.add(threading.get_ident())
            return super().read(size)

    pq.write_table(hub_from_table(table_from_recipes(demo_recipes)), tmp_path / "a.parquet")
    parquet = open_parquet(Stream((tmp_path / "a.parquet").read_bytes()), "a.parquet")
    assert sum(map(len, read_row_group(parquet, "a.parquet", 0))) == len(demo_recipes)
    assert readers == {threading.get_ident()}


def test_no_metadata(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MetadataUnavailableError, match="no metadata"):
            list(read_recipes(path))
    with pytest.raises(TypeError, match="rows or a path"):
        list(read_recipes(5))


def test_errors_name_the_file(tmp_path, row):
    row["sources"][1]["rms_gain"] = float("nan")
    (tmp_path / "a.json").write_text(json.dumps([row]))
    (tmp_path / "b.parquet").write_text("not parquet")
    pq.write_table(pa.table({"mix_id": ["a"]}), tmp_path / "c.parquet")
    (tmp_path / "d.json").write_text('{"mix_id": 39, "speaker_num": 2, "sample_rate": 44100, "labels": ["Pig"]}')
    (tmp_path / "e.json").write_bytes(b'[{"mix_id": "\xff"}]')
    for name, message in {
        "a.json": "a.json, mixture sample_00000000, source s2: rms_gain is nan",
        "b.parquet": "b.parquet: not a parquet file",
        "c.parquet": "c.parquet: column 'split' is missing",
        "d.json": "d.json, row 1: mix_id must be text, not int 39",
        "e.json": "e.json: not UTF-8",
    }.items():
        with pytest.raises(RecipeError, match=message) as caught:
            list(read_recipes(tmp_path / name))
        assert caught.value.where.startswith(str(tmp_path / name))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), max_size=6)


@given(objects, st.integers(1, 40), st.sampled_from([None, 1]))
def test_json_is_read_in_blocks_of_any_size(rows, block, indent):
    original = reading._READ_CHARACTERS
    reading._READ_CHARACTERS = block
    try:
        as_array = io.StringIO(json.dumps(rows, indent=indent))
        assert list(iterate_json(as_array, "f")) == rows
        if not rows:
            return
        as_lines = io.StringIO("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        assert list(iterate_json(as_lines, "f")) == rows
    finally:
        reading._READ_CHARACTERS = original


@pytest.mark.parametrize(
    "text", ['[{"a": 1}', '[{"a": 1}, {"b"', '{"a": ', '[{"a": 1}] x', "nonsense", '[{"a": 1}, ]]', "", " \n"]
)
def test_broken_json_is_an_error(text):
    with pytest.raises(RecipeError, match="f: "):
        list(iterate_json(io.StringIO(text), "f"))


def test_broken_json_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(reading, "_READ_CHARACTERS", 1000)
    monkeypatch.setattr(reading, "_MAX_ROW_CHARACTERS", 5000)
    stream = io.StringIO('[{"a": 1 "b": 2},' + " " * 100_000 + "]")
    with pytest.raises(RecipeError, match="row 1 is broken, or longer than 5,000 characters"):
        list(iterate_json(stream, "f"))
    assert stream.tell() < 10_000


def test_part_of_a_row_group(tmp_path, demo_recipes, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_ROWS", 5)
    pq.write_table(hub_from_table(table_from_recipes(demo_recipes)), tmp_path / "a.parquet", row_group_size=13)
    with (tmp_path / "a.parquet").open("rb") as stream:
        parquet = open_parquet(stream, "a")
        for start, stop in [(0, None), (0, 13), (3, 4), (4, 11), (12, 13), (5, 5)]:
            rows = [r for table in read_row_group(parquet, "a", 0, start, stop) for r in recipes_from_table(table)]
            assert rows == demo_recipes[:13][start:stop]


@pytest.mark.parametrize("filler", [0, 400_000])
def test_broken_json_is_told_by_its_line(tmp_path, demo_recipes, filler):
    """Also behind what was read, and let go of, before."""
    rows = [recipe.to_json().replace('", "', '",\n "') for recipe in demo_recipes[:2]]
    text = "[\n" + " " * filler + ",\n".join([*rows, rows[0].replace('"sources"', '"sources', 1)]) + "\n]"
    (tmp_path / "a.json").write_text(text)
    lines = text.split("\n")
    broken = max(number for number, line in enumerate(lines, start=1) if '"sources:' in line)
    with pytest.raises(RecipeError, match=rf"a\.json: line {broken}, row 3 is not valid JSON"):
        list(read_recipes(tmp_path / "a.json"))


@pytest.mark.parametrize("split", ["trian", "tset"])
def test_a_slip_of_a_split_is_refused(tmp_path, row, shared, split):
    message = rf"split is '{split}': did you mean 't(rain|est)'\?"
    with pytest.raises(RecipeError, match=message):
        parse_recipe({**row, "split": split})
    table = pq.read_table(shared / "mini" / "hub" / "test" / "data.parquet")
    index = table.schema.get_field_index("split")
    pq.write_table(table.set_column(index, "split", pa.array([split] * len(table))), tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match=message):
        list(read_recipes(tmp_path / "a.parquet"))
