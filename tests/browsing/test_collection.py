from collections import Counter

import pytest

from hive_datasets import Subset
from hive_datasets.browsing import Collection
from hive_datasets.browsing.collection import describe_recipe
from hive_datasets.sources.corpora import title_of


@pytest.fixture(scope="module")
def recipes(shared):
    return list(Subset(shared / "mini" / "hub").recipes())


@pytest.fixture(scope="module")
def collection(shared):
    return Collection(Subset(shared / "mini" / "hub").tables())


def corpora(recipe):
    return {title_of(source.path) for source in recipe.sources}


@pytest.mark.parametrize(
    ("wanted", "keeps"),
    [
        ({}, lambda recipe: True),
        ({"label": ["Bark"]}, lambda recipe: "Bark" in recipe.labels),
        ({"label": ["Bark", "Rain"]}, lambda recipe: {"Bark", "Rain"} <= set(recipe.labels)),
        ({"corpus": ["AudioSet"], "offset": ["7"]}, lambda recipe: "AudioSet" in corpora(recipe)),
        ({"num_sources": ["3"], "split": ["test"]}, lambda recipe: (recipe.num_sources, recipe.split) == (3, "test")),
        ({"label": ["no such label"]}, lambda recipe: False),
    ],
)
def test_finding(collection, recipes, wanted, keeps):
    expected = [row for row, recipe in enumerate(recipes) if keeps(recipe)]
    assert collection.find(wanted).tolist() == expected


def test_what_can_be_chosen(collection, recipes):
    facets = collection.describe()
    assert dict(facets["label"]) == Counter(label for recipe in recipes for label in set(recipe.labels))
    assert dict(facets["corpus"]) == Counter(title for recipe in recipes for title in corpora(recipe))
    assert dict(facets["num_sources"]) == Counter(str(recipe.num_sources) for recipe in recipes)
    assert dict(facets["split"]) == Counter(recipe.split for recipe in recipes)
    for counts in facets.values():
        assert [count for _, count in counts] == sorted((count for _, count in counts), reverse=True)


def test_recipes(collection, recipes):
    assert [collection.recipe(row) for row in range(len(collection))] == recipes
    for row in (-1, len(recipes)):
        with pytest.raises(IndexError, match="there is no mixture"):
            collection.recipe(row)


def test_what_is_shown(recipes):
    recipe = recipes[3]
    shown = describe_recipe(3, recipe)
    assert (shown["row"], shown["mix_id"], shown["split"], shown["seconds"]) == (3, recipe.mix_id, "train", 4.0)
    for found, source in zip(shown["sources"], recipe.sources, strict=True):
        assert (found["label"], found["path"], found["snr_db"]) == (source.label, source.path, source.snr_db)
        is_padded = source.crop_end_second > source.chunk_end_second - source.chunk_start_second
        assert found["is_padded"] == is_padded
        assert found["end"] == (source.chunk_end_second if is_padded else pytest.approx(found["start"] + 4.0))
        assert found["start"] >= source.chunk_start_second


def test_nothing():
    empty = Collection([])
    assert len(empty) == 0
    assert empty.find({"label": ["Bark"]}).tolist() == []
    assert empty.describe() == {"label": [], "corpus": [], "num_sources": [], "split": []}
