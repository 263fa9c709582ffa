import pytest

from hive_datasets import Mixer, SourceRootError, Subset, UnknownLabelError
from hive_datasets.errors import MetadataUnavailableError, RecipeError, UnreadableSourceWarning
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.recipe.writing import JsonFileWriter, write_recipes


@pytest.fixture
def metadata(shared):
    return shared / "mini" / "hub"


def ids(subset, mixer=None):
    return [recipe.mix_id for recipe in subset.recipes(mixer)]


@pytest.mark.parametrize(
    ("choice", "keeps"),
    [
        ({}, lambda recipe: True),
        ({"splits": ["val"]}, lambda recipe: recipe.split == "validation"),
        ({"splits": "val"}, lambda recipe: recipe.split == "validation"),
        ({"num_sources": range(2, 4)}, lambda recipe: recipe.num_sources < 4),
        ({"splits": ["val", "test"]}, lambda recipe: recipe.split != "train"),
        ({"num_sources": 3}, lambda recipe: recipe.num_sources == 3),
        ({"num_sources": [2, 5]}, lambda recipe: recipe.num_sources in (2, 5)),
        ({"labels": "Bark"}, lambda recipe: "Bark" in recipe.labels),
        (
            {"labels": ["Bark", "Rain"], "num_sources": 2},
            lambda r: r.num_sources == 2 and {"Bark", "Rain"} & {*r.labels},
        ),
        ({"mix_ids": ["sample_00000005"]}, lambda recipe: recipe.mix_id == "sample_00000005"),
        (
            {"filters": [("global_normalization_factor", "<", 0.5)]},
            lambda recipe: recipe.global_normalization_factor < 0.5,
        ),
    ],
)
def test_choosing(metadata, mini, choice, keeps):
    expected = [recipe for split in ("train", "validation", "test") for recipe in mini if recipe.split == split]
    expected = [recipe for recipe in expected if keeps(recipe)]
    assert expected
    assert list(Subset(metadata, **choice).recipes()) == expected
    assert list(Subset(metadata, limit=3, **choice).recipes()) == expected[:3]


def test_tables_are_never_empty_and_end_with_the_limit(metadata, tmp_path, mini):
    assert all(len(table) for table in Subset(metadata, num_sources=5).tables())
    for number in range(3):
        write_recipes([table_from_recipes(mini[:5])], JsonFileWriter(tmp_path / f"{number}.json"))
    read = Subset(tmp_path, limit=5).tables()
    assert [len(table) for table in read] == [5]
    assert len(list(Subset(tmp_path, limit=7).recipes())) == 7


def test_what_is_past_the_limit_is_not_read(tmp_path, mini):
    write_recipes([table_from_recipes(mini[:5])], JsonFileWriter(tmp_path / "0.json"))
    (tmp_path / "1.json").write_text("no JSON")
    assert len(list(Subset(tmp_path, limit=5).recipes())) == 5
    with pytest.raises(RecipeError):
        list(Subset(tmp_path, limit=6).recipes())


def test_available_only(metadata, corpora, tmp_path, mini):
    only = {"ESC50": str(corpora / "ESC-50-master")}
    expected = [r.mix_id for r in mini if all(source.path.startswith("ESC-50-master/") for source in r.sources)]
    assert expected
    assert sorted(ids(Subset(metadata, available_only=True), Mixer(only))) == sorted(expected)
    with pytest.raises(SourceRootError):
        ids(Subset(metadata, available_only=True))
    (tmp_path / "empty").mkdir()
    with (
        pytest.warns(UnreadableSourceWarning, match="no mixture with sources of"),
        pytest.raises(MetadataUnavailableError, match="none of 64 mixtures can be rendered here"),
    ):
        ids(Subset(metadata, available_only=True), Mixer(tmp_path / "empty"))


def test_a_label_that_does_not_exist(metadata):
    with pytest.raises(UnknownLabelError, match=r"no mixture has the label 'brak'\. Nearest: 'Bark'") as raised:
        ids(Subset(metadata, labels=["Rain", "brak"]))
    assert (raised.value.label, raised.value.nearest[0]) == ("brak", "Bark")
    with pytest.raises(UnknownLabelError, match="13 others, none alike"):
        ids(Subset(metadata, labels="xylophonist"))
    with pytest.raises(UnknownLabelError, match="'Baby cry, infant cry'"):  # a part of a name
        ids(Subset(metadata, labels="baby"))


def test_a_label_that_others_of_the_choice_exclude_exists(metadata):
    with pytest.raises(MetadataUnavailableError, match="there is no mixture of 9 sources with label Bark"):
        ids(Subset(metadata, labels="Bark", num_sources=9))


def test_mix_ids_that_do_not_exist(metadata):
    wanted = ["sample_00000001", *(f"nobody_{number}" for number in range(7))]
    with pytest.raises(MetadataUnavailableError, match=r"7 of 8 mix_ids are not there: nobody_0, .*nobody_4, \.\.\."):
        ids(Subset(metadata, mix_ids=wanted))


@pytest.mark.parametrize(
    "choice",
    [{"limit": 0}, {"limit": 2.5}, {"mix_ids": [1]}, {"num_sources": 0}, {"labels": []}, {"mix_ids": "sample_1"}],
)
def test_out_of_range(choice):
    with pytest.raises(ValueError):
        Subset("somewhere", **choice)
