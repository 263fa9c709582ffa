"""Every fault of a row is an error that names the file, the mixture, the source and the field."""

import copy
import io
import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import Recipe, RecipeError, Source, parse_recipe
from hive_datasets.export.samples import describe_sample
from hive_datasets.recipe.reading import read_json_tables
from hive_datasets.recipe.tables import hub_from_table, table_from_hub, table_from_recipes
from hive_datasets.recipe.writing import legacy_row


def hub_shape(row):
    """`sources` as a dict of lists, as the Hub has it."""
    fields = row["sources"][0]
    return {**row, "sources": {name: [source[name] for source in row["sources"]] for name in fields}}


def test_three_shapes_of_one_row(row, demo_recipes):
    for shape in (row, hub_shape(row), legacy_row(row), json.dumps(legacy_row(row))):
        assert parse_recipe(shape) == demo_recipes[0]


def test_published_rows(hive_rows):
    recipe = parse_recipe(hive_rows[0])
    assert recipe.mix_id == "sample_00000014"
    assert recipe.labels == ["Steam whistle", "Engine"]
    assert recipe.sources[1].snr_db == -2.61273867332513
    for row in hive_rows:
        for source in parse_recipe(row).sources:
            assert source.applied_weight == pytest.approx(source.rms_gain * 10 ** (source.snr_db / 20))


def test_unknown_fields_are_ignored(row, demo_recipes):
    row["comment"] = "x"
    row["sources"][0]["caption"] = ["y"]
    assert parse_recipe(row) == demo_recipes[0]


def test_labels_may_be_anything(row):
    row["sources"][0]["label"] = "Vehicle"  # an inner node of the ontology
    row["sources"][1]["label"] = ""
    assert parse_recipe(row).labels == ["Vehicle", ""]


ROW_FAULTS = {
    "mix_id": [None, 39, "", "x" * 5000],
    "split": [None, 1, ""],
    "sample_rate": [None, "44100", 0, -1, 44100.5, True, 2**31, 768_001, 10**400],
    "target_duration": [None, "4", 0, -4.0, math.nan, math.inf, True, 40_000.0, 3600.1, 10**400],
    "num_sources": [3, 1, "2", 2.5, 0],
    "sources": [None, [], {}, "s1", 5, [1], [None], {"source_id": ["s1"]}],
    "global_normalization_factor": [None, 0, -1, math.nan, math.inf, "1", 1e13],
    "final_max_amplitude": [None, math.nan, 0],
}
SOURCE_FAULTS = {
    "source_id": [None, 1, ""],
    "path": [
        None,
        1,
        "",
        "/etc/passwd",
        "AudioSet/../../x.wav",
        "..",
        "a/..",
        "AudioSet//etc/passwd",
        "a/./b",
        "a/",
    ],
    "label": [None, 1, "é" * 2100],
    "crop_start_second": [None, -0.1, math.nan, "0", 1e9],
    "crop_end_second": [None, -1.0, 0.0, math.inf, 1e12],
    "chunk_start_second": [None, -0.1, math.nan, 1e9],
    "chunk_end_second": [None, 0.0, -math.inf, 1e12],
    "rms_gain": [None, math.nan, "2", [2]],
    "snr_db": [None, math.nan, math.inf],
    "applied_weight": [None, math.nan, False, 1e300, -1e13],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in ROW_FAULTS.items() for v in values])
def test_a_fault_in_the_row_names_file_mixture_and_field(row, field, value):
    row[field] = value
    with pytest.raises(RecipeError) as caught:
        parse_recipe(row, where="some/file.json")
    assert caught.value.where == "some/file.json"
    assert str(caught.value).startswith("some/file.json")
    if field != "mix_id":
        assert caught.value.mix_id == "sample_00000000"
        assert "mixture sample_00000000" in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in SOURCE_FAULTS.items() for v in values])
@pytest.mark.parametrize("shape", [lambda row: row, hub_shape, legacy_row])
def test_a_fault_in_a_source_names_it(row, field, value, shape):
    row["sources"][1][field] = value
    with pytest.raises(RecipeError) as caught:
        parse_recipe(shape(row), where="some/file.json")
    error = caught.value
    assert (error.where, error.mix_id) == ("some/file.json", "sample_00000000")
    assert error.source_id == ("#2" if field == "source_id" else "s2")
    assert f"source {error.source_id}" in str(error)
    # of an interval, the end may be named for the start
    assert error.field.replace("_end_", "_start_") == field.replace("_end_", "_start_")


@pytest.mark.parametrize("field", [*ROW_FAULTS, *(f"sources.{name}" for name in SOURCE_FAULTS)])
def test_a_missing_field_is_named(row, field):
    if field == "num_sources":
        return  # the authors' rows may lack it; see tests of tables
    if field.startswith("sources."):
        del row["sources"][0][field.split(".")[1]]
    else:
        del row[field]
    with pytest.raises(RecipeError, match="is missing") as caught:
        parse_recipe(row)
    assert caught.value.field == field.split(".")[-1]


def test_lists_of_different_lengths(row):
    row = hub_shape(row)
    row["sources"]["snr_db"].append(0.0)
    with pytest.raises(RecipeError, match=r"different lengths.*'snr_db': 3"):
        parse_recipe(row)


@pytest.mark.parametrize("row", [5, None, [], "[]", "{", '"text"'])
def test_no_row_at_all(row):
    with pytest.raises(RecipeError):
        parse_recipe(row)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
paths = st.lists(texts.filter(lambda text: text not in (".", "..") and "/" not in text), min_size=1, max_size=3).map(
    "/".join
)
positive = st.floats(1e-6, 1e6)
signed = st.floats(-1e6, 1e6)


@st.composite
def intervals(draw):
    start = draw(st.floats(0, 1e5))
    return start, start + draw(st.floats(1e-3, 1e3))


@st.composite
def recipes(draw):
    sources = []
    for index in range(draw(st.integers(1, 5))):
        crop, chunk = draw(intervals()), draw(intervals())
        gains = [draw(signed) for _ in range(3)]
        sources.append(Source(f"s{index + 1}", draw(paths), draw(texts), *crop, *chunk, *gains))
    return Recipe(
        mix_id=draw(texts),
        split=draw(st.sampled_from(["train", "validation", "test"])),
        sample_rate=draw(st.integers(1, 40_000)),
        target_duration=draw(st.floats(1e-6, 3600)),
        sources=tuple(sources),
        global_normalization_factor=draw(positive),
        final_max_amplitude=draw(positive),
    )


@given(recipes())
def test_every_shape_goes_around_without_loss(recipe):
    row = recipe.to_dict()
    assert Recipe.from_stored(row) == recipe
    for shape in (row, hub_shape(row), legacy_row(row), recipe.to_json(), json.dumps(legacy_row(row))):
        assert parse_recipe(shape) == recipe


@given(st.lists(recipes(), max_size=4))
def test_tables_go_around_without_loss(recipes):
    table = table_from_recipes(recipes)
    hub = hub_from_table(table)
    assert pa.types.is_struct(hub.schema.field("sources").type)
    assert table_from_hub(hub).equals(table)
    assert table_from_hub(table).equals(table)
    assert [parse_recipe(row) for row in hub.to_pylist()] == recipes


def damaged(row, field, value):
    row = copy.deepcopy(row)
    if field in SOURCE_FAULTS:
        row["sources"][1][field] = value
    else:
        row[field] = value
    return row


def is_arrow_typed(field, value):
    """Whether an Arrow column of the right type can hold the fault at all."""
    if value is None or value == []:
        return True
    text = field in {"mix_id", "split", "source_id", "path", "label"}
    whole = field in {"sample_rate", "num_sources"}
    if field == "sources" or isinstance(value, (bool, list, dict)):
        return False
    return isinstance(value, str) if text else isinstance(value, int if whole else (int, float))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (f, v)
        for f, values in {**ROW_FAULTS, **SOURCE_FAULTS}.items()
        for v in values
        if is_arrow_typed(f, v) and not (isinstance(v, int) and v >= 2**31)
    ],
)
def test_tables_find_what_rows_find(row, field, value):
    """The vectorised check agrees with the slow one, on the first row at fault."""
    rows = [copy.deepcopy(row), copy.deepcopy(row), damaged(row, field, value), damaged(row, "rms_gain", None)]
    for index, item in enumerate(rows):
        if field != "mix_id" or index != 2:
            item["mix_id"] = f"sample_{index:08d}"
    table = pa.Table.from_pylist(rows, schema=table_from_recipes([]).schema)
    with pytest.raises(RecipeError) as of_table:
        table_from_hub(table.slice(0, 3), "a.parquet")
    with pytest.raises(RecipeError, match=re.escape(str(of_table.value))):
        table_from_hub(table, "a.parquet")
    if not (field == "num_sources" and value is None):
        with pytest.raises(RecipeError) as of_row:
            parse_recipe(rows[2], "a.parquet")
        assert str(of_table.value) == str(of_row.value)


@pytest.mark.parametrize("shape", [lambda row: row, hub_shape, legacy_row, json.dumps])
def test_more_than_a_machine_can_take_is_refused(row, shape):
    """At once: a million sources took 24 GB, 40,000 s ended in MemoryError."""
    long = {**row, "sample_rate": 768_000, "target_duration": 3600.0}
    with pytest.raises(RecipeError, match=r"target_duration is 3600 s, which makes 8,294,400,000 samples of 2 sources"):
        parse_recipe(shape(long))
    wide = {**row, "num_sources": 100_000, "sources": row["sources"][:1] * 100_000}
    with pytest.raises(RecipeError, match="sources has 100,000 entries: a mixture may have 64"):
        parse_recipe(shape(wide))
    for bad in (long, wide):
        with pytest.raises(RecipeError, match=r"which makes|entries"):
            table_from_hub(pa.Table.from_pylist([bad], schema=table_from_recipes([]).schema), "a.parquet")


def test_what_holds_a_recipe_stands_for_it(row, demo_recipes):
    recipe = demo_recipes[0]
    stored = {**row, "origin": 0}
    sources = np.array(row["sources"], dtype=object)
    lists = {name: np.array(values) for name, values in hub_shape(row)["sources"].items()}
    for shape in (
        {"mix_id": "x", "labels": ["y"], "mixture": stored},  # a row of load_dataset, undecoded
        {"mixture": {"mix": np.zeros(4), "sources": np.zeros((2, 4)), "recipe": json.dumps(stored)}},  # and decoded
        json.loads(describe_sample(recipe, None, "scaled")),  # the JSON in a tar
        {**row, "sources": sources},
        {**row, "sources": lists},
        {**row, "sample_rate": np.int32(44100), "target_duration": np.array(row["target_duration"])},
    ):
        assert parse_recipe(shape) == recipe


def test_seconds_of_32_bits_are_refused(row):
    """As PyTorch's format makes them: on real rows every other source began at another frame."""
    for kind in (np.float32, np.float16):
        coarse = {**row, "target_duration": kind(row["target_duration"])}
        lists = {name: np.array(values) for name, values in hub_shape(row)["sources"].items()}
        lists["crop_start_second"] = lists["crop_start_second"].astype(kind)
        for bad in (coarse, {**row, "sources": lists}):
            with pytest.raises(RecipeError, match=r"has 32 bits, .* with_format\(None\)"):
                parse_recipe(bad)


def test_columns_of_others_are_passed_over(row, demo_recipes):
    assert parse_recipe({**row, "recipe": "v1", "mixture": {"a": 1}}) == demo_recipes[0]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"mix_id": ' + "9" * 5000 + "}", '{"a": 1' + "0" * 5000 + "}"])
def test_odd_json_is_a_fault_of_its_row(text):
    with pytest.raises(RecipeError):
        parse_recipe(text)
    with pytest.raises(RecipeError, match=r"^f(: |, )row 1"):
        list(read_json_tables(io.StringIO(text), "f"))


def test_text_that_is_not_utf8(row):
    table = pa.Table.from_pylist([row, {**row, "mix_id": "b"}], schema=table_from_recipes([]).schema)
    broken = pa.StringArray.from_buffers(2, *pa.array([b"a", b"\xff"]).buffers()[1:])
    table = table.set_column(0, "mix_id", broken)
    with pytest.raises(RecipeError, match=r"a.parquet: the row after mixture a: text that is not UTF-8"):
        table_from_hub(table, "a.parquet")


def test_no_sources_at_all(row):
    row |= {"sources": [], "num_sources": 0}
    with pytest.raises(RecipeError, match="is empty: a mixture needs at least one source"):
        table_from_hub(pa.Table.from_pylist([row], schema=table_from_recipes([]).schema))


def test_a_null_num_sources_is_a_fault_of_a_table(row):
    row["num_sources"] = None
    with pytest.raises(RecipeError, match=r"a\.parquet: mixture sample_00000000: num_sources is missing"):
        table_from_hub(pa.Table.from_pylist([row], schema=table_from_recipes([]).schema), "a.parquet")


def test_tables_with_wrong_columns(row):
    good = pa.Table.from_pylist([hub_shape(row)])
    assert table_from_hub(good).num_rows == 1
    with pytest.raises(RecipeError, match="f: column 'mix_id' is missing") as caught:
        table_from_hub(good.drop(["mix_id"]), "f")
    assert caught.value.field == "mix_id"
    for name, value in {"mix_id": 1, "target_duration": "4.0", "sample_rate": "44100", "split": True}.items():
        with pytest.raises(RecipeError, match=f"'{name}' has type"):
            table_from_hub(pa.Table.from_pylist([{**hub_shape(row), name: value}]))
    row["sources"][0]["rms_gain"] = row["sources"][1]["rms_gain"] = "loud"
    for shape in (row, hub_shape(row)):
        with pytest.raises(RecipeError, match="'rms_gain' has type string"):
            table_from_hub(pa.Table.from_pylist([shape]))
    del row["sources"][0]["rms_gain"], row["sources"][1]["rms_gain"]
    for shape in (row, hub_shape(row)):
        with pytest.raises(RecipeError, match="no field 'rms_gain'"):
            table_from_hub(pa.Table.from_pylist([shape]))
    with pytest.raises(RecipeError, match="'sources' must be a struct of lists or a list of structs, not string"):
        table_from_hub(pa.Table.from_pylist([{**row, "sources": "x"}]))


def test_tables_with_lists_of_different_lengths(row):
    row = hub_shape(row)
    row["sources"]["snr_db"].append(0.0)
    with pytest.raises(RecipeError, match="mixture sample_00000000: sources has lists of different lengths"):
        table_from_hub(pa.Table.from_pylist([row]))


def test_tables_of_other_exact_types(row, demo_recipes):
    """As pandas and other writers leave them: large strings, int64, float32 where it is exact, dictionaries."""
    table = table_from_recipes(demo_recipes[:2])
    varied = table.set_column(0, "mix_id", table.column("mix_id").cast(pa.large_string()))
    varied = varied.set_column(1, "split", table.column("split").dictionary_encode())
    varied = varied.set_column(2, "sample_rate", table.column("sample_rate").cast(pa.int64()))
    varied = varied.set_column(3, "target_duration", table.column("target_duration").cast(pa.float32()))
    assert table_from_hub(varied).equals(table)


def test_a_sliced_table(demo_recipes):
    """Offsets of a slice do not start at 0."""
    table = table_from_recipes(demo_recipes[:6])
    for shape in (table, hub_from_table(table)):
        assert table_from_hub(shape.slice(2, 3)).equals(table.slice(2, 3))


def test_val_is_validation(row, demo_recipes):
    row["split"] = "val"
    assert parse_recipe(row).split == "validation"
    table = pa.Table.from_pylist([row], schema=table_from_recipes([]).schema)
    assert table_from_hub(table).column("split").to_pylist() == ["validation"]


def test_half_a_surrogate_pair_is_no_text(row):
    row["sources"][0]["path"] = "a/\ud800.wav"
    with pytest.raises(RecipeError, match=r"half a surrogate pair is no text"):
        parse_recipe(row)
    row["sources"][0]["path"] = "a/\U0001f415.wav"
    assert parse_recipe(row).sources[0].path == "a/\U0001f415.wav"


def test_a_name_may_end_with_a_line_break(row):
    row["sources"][0]["path"] = "a/b\n"
    assert parse_recipe(row).sources[0].path == "a/b\n"
