"""Tables of recipes: what `read_recipes` reads, by number."""

import pickle

import pytest

from hive_datasets import RecipeTable, load_dataset, parse_recipe


@pytest.fixture(scope="module")
def mini_table(shared, corpora, tmp_path_factory):
    options = {"data_dir": str(shared / "mini" / "hub"), "dataset_paths": corpora, "split": "train"}
    return load_dataset("hive", cache_dir=str(tmp_path_factory.mktemp("tables")), **options)


@pytest.fixture(scope="module")
def train(mini):
    return [recipe for recipe in mini if recipe.split == "train"]


def test_rows_are_recipes(mini_table, train):
    table = RecipeTable(mini_table)
    assert len(table) == 48
    assert table.__getitems__(range(48)) == train
    assert table.__getitems__([7, 3, 7]) == [train[7], train[3], train[7]] and table[-1] == train[47]
    assert table.__getitems__([]) == []
    assert {recipe.origin for recipe in table.__getitems__([0, 40])} == {parse_recipe(mini_table[0]["mixture"]).origin}


def test_of_rows_that_were_chosen_shuffled_and_put_together(mini_table, train):
    from datasets import concatenate_datasets

    chosen = mini_table.filter(lambda count: count == 3, input_columns="num_sources").shuffle(seed=0)
    table = RecipeTable(concatenate_datasets([chosen, mini_table.select(range(5, 9))]))
    by_id = {recipe.mix_id: recipe for recipe in train}
    assert table.__getitems__(range(len(chosen))) == [by_id[mix_id] for mix_id in chosen["mix_id"]]
    assert table.__getitems__([len(chosen)]) == [train[5]]


def test_of_a_list(train):
    assert RecipeTable(train)[3] == train[3]
    assert labels_of(RecipeTable(train)) == [recipe.labels for recipe in train]


def labels_of(table):
    return [labels for batch in table.label_batches() for labels in batch.to_pylist()]


def test_labels(mini_table, train):
    table = RecipeTable(mini_table.select(range(40, 9, -1)))
    assert labels_of(table) == [train[row].labels for row in range(40, 9, -1)]


def test_a_fingerprint_is_of_what_rows_name(mini_table, train, shared, tmp_path):
    found = RecipeTable(mini_table).fingerprint
    elsewhere = load_dataset(
        "hive", data_dir=str(shared / "mini" / "json"), dataset_paths=tmp_path, split="train", cache_dir=str(tmp_path)
    )
    by_id = {recipe.mix_id: row for row, recipe in enumerate(RecipeTable(elsewhere).__getitems__(range(48)))}
    in_order = elsewhere.select([by_id[recipe.mix_id] for recipe in train])
    assert RecipeTable(in_order).fingerprint == RecipeTable(train).fingerprint == found
    assert pickle.loads(pickle.dumps(RecipeTable(mini_table))).fingerprint == found
    others = [
        mini_table.shuffle(seed=1),
        mini_table.select(range(47)),
        mini_table.select([*range(20), 21, 20, *range(22, 48)]),
    ]
    assert len({found, *(RecipeTable(other).fingerprint for other in others)}) == 4


def test_what_is_no_table(mini_table):
    with pytest.raises(TypeError, match="a stream has no rows by number: leave streaming=True out"):
        RecipeTable(load_dataset("hive", "demo", split="train", streaming=True))
    with pytest.raises(ValueError, match="no column 'mix' of mixtures, but mix_id, num_sources, labels, mixture"):
        RecipeTable(mini_table, "mix")
    with pytest.raises(ValueError, match="there are no rows"):
        RecipeTable(mini_table.select([]))
    with pytest.raises(TypeError, match="a list of recipes, not dict"):
        RecipeTable({})
