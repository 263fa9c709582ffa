"""What is asked: each source of each mixture, once."""

import shutil

import numpy as np
import pytest

import hive_datasets
from hive_datasets import Mixer, Ontology, SelectTarget, Subset
from hive_datasets.evaluation import RecipeTargets
from hive_datasets.evaluation.targets import find_segments


@pytest.fixture(scope="module")
def mini_targets(mini, corpora):
    return RecipeTargets(mini, Mixer(corpora, 16000))


def test_each_source_of_each_mixture_once(mini, mini_targets):
    items = list(mini_targets.items())
    for recipe, item in zip(mini, items, strict=True):
        asked = [source for target in item.targets for source in target.source_ids]
        assert sorted(asked) == [source.source_id for source in recipe.sources]
        for target in item.targets:
            right = [source for source in recipe.sources if source.source_id in target.source_ids]
            assert {source.label for source in right} == {target.label} == {target.query}
            assert (target.mix_id, target.split, target.num_sources) == (
                recipe.mix_id,
                recipe.split,
                len(recipe.sources),
            )
            assert target.corpus == hive_datasets.find_corpus(right[0].path.partition("/")[0]).title


def test_signals_are_the_mixture_and_its_stems(mini, corpora, mini_targets):
    mixer = Mixer(corpora, 16000)
    for item, recipe in list(zip(mini_targets.items(), mini, strict=True))[:4]:
        rendered = mixer(recipe)
        rate, signals = mini_targets.read(item)
        assert rate == 16000
        for (mixture, reference), target in zip(signals, item.targets, strict=True):
            numbers = [int(source[1:]) - 1 for source in target.source_ids]
            assert np.array_equal(mixture, rendered["mix"])
            assert np.allclose(reference, rendered["sources"][numbers].sum(axis=0), atol=1e-6)


def test_any_dataset_of_the_same_mixtures_is_the_same(shared, corpora, mini):
    """Whatever holds them, and wherever their files lie."""
    mixer, metadata = Mixer(corpora, 16000), shared / "mini" / "hub"
    loaded = hive_datasets.load_dataset("hive", data_dir=str(metadata), split="test", dataset_paths=str(corpora))
    of_test = [recipe for recipe in mini if recipe.split == "test"]
    found = [
        [(item.targets, item.identity) for item in RecipeTargets(dataset, mixer).items()]
        for dataset in (of_test, Subset(metadata, splits="test"), loaded)
    ]
    assert found[0] == found[1] == found[2]
    assert {item.identity for item in RecipeTargets(metadata, mixer).items()} >= {identity for _, identity in found[0]}


def test_segments(demo, demo_recipes):
    mixer = Mixer(demo / "sources", 8000)
    whole, cut = (RecipeTargets(demo_recipes[:2], mixer, segment_seconds=seconds) for seconds in (None, 1.5))
    for item, pieces in zip(whole.items(), cut.items(), strict=True):
        count = len(item.targets)
        assert [target.start_second for target in pieces.targets] == [0.0] * count + [1.5] * count  # 1 s is left
        assert all(target.is_segment for target in pieces.targets)
        for number, (mixture, reference) in enumerate(cut.read(pieces)[1]):
            start = 0 if number < count else 12000
            wanted = whole.read(item)[1][number % count]
            assert np.array_equal(mixture, wanted[0][start : start + 12000])
            assert np.array_equal(reference, wanted[1][start : start + 12000])
    assert find_segments(8000, 8000, 2.0) == [0]


def test_absent_labels(demo, demo_recipes):
    select = SelectTarget("all", ["{label}", "the sound of {label}"], absent=0.25)
    targets = RecipeTargets(demo_recipes, Mixer(demo / "sources", 8000), select=select)
    items = list(targets.items())
    assert items == list(targets.items())
    added = [(item, number) for item in items for number, target in enumerate(item.targets) if not target.source_ids]
    assert len(added) > 10
    for item, number in added[:3]:
        target = item.targets[number]
        mixture, reference = targets.read(item)[1][number]
        assert mixture.any() and not reference.any() and target.corpus == ""
        assert target.label not in [other.label for other in item.targets if other is not target]
        assert target.label in Ontology.hive()


@pytest.mark.parametrize("options", [{"select": SelectTarget()}, {"segment_seconds": 0.0}])
def test_options_that_ask_for_no_targets(demo_recipes, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RecipeTargets(demo_recipes, Mixer(), **options)


def test_roots_are_no_part_of_what_is_evaluated(demo, demo_recipes, tmp_path):
    moved = shutil.copytree(demo / "metadata", tmp_path / "metadata")
    here, there = (
        [item.identity for item in RecipeTargets(Subset(folder, splits="train"), Mixer()).items()]
        for folder in (demo / "metadata", moved)
    )
    assert here == there and len(set(here)) == len(demo_recipes)
