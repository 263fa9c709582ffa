import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import RecipeError, parse_recipe
from hive_datasets.export.plan import iterate_shards
from hive_datasets.recipe.tables import recipes_from_table, table_from_recipes


def make(row, number, split, num_sources):
    sources = [{**row["sources"][0], "source_id": f"s{n + 1}"} for n in range(num_sources)]
    return parse_recipe({**row, "mix_id": f"m{number}", "split": split, "num_sources": num_sources, "sources": sources})


@given(
    keys=st.lists(st.tuples(st.sampled_from(["train", "test"]), st.integers(1, 3)), max_size=30),
    size=st.integers(1, 7),
    rows_at_once=st.integers(1, 10),
)
def test_against_a_list_for_each(demo_recipes, keys, size, rows_at_once):
    """Every mixture once, in order, in full shards but for the last, however the metadata comes."""
    row = demo_recipes[0].to_dict()
    recipes = [make(row, number, *key) for number, key in enumerate(keys)]
    tables = [
        table_from_recipes(recipes[start : start + rows_at_once]) for start in range(0, len(recipes), rows_at_once)
    ]
    expected = {}
    for key in dict.fromkeys(keys):
        chosen = [recipe for recipe in recipes if (recipe.split, recipe.num_sources) == key]
        for start in range(0, len(chosen), size):
            expected[(*key, start // size + 1)] = chosen[start : start + size]
    shards = list(iterate_shards(tables, size))
    found = {(shard.split, shard.num_sources, shard.number): recipes_from_table(shard.table) for shard in shards}
    assert found == expected
    assert len(shards) == len(expected)
    assert all(shard.folder == f"{shard.split}/{shard.num_sources}mix" for shard in shards)


def test_only_what_fills_no_shard_is_held(row):
    taken = []

    def tables():
        for number in range(100):
            taken.append(number)
            yield table_from_recipes([make(row, number, "train", 2)])

    next(iterate_shards(tables(), 10))
    assert len(taken) == 10


@pytest.mark.parametrize("split", ["../train", "a/b", ".hidden", "a b", "a-b", "a.b", "all", "/tmp"])
def test_a_split_that_is_no_folder(row, split):
    with pytest.raises(RecipeError, match="cannot name a folder"):
        list(iterate_shards([table_from_recipes([make(row, 0, split, 2)])], 10))
