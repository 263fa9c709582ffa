"""`SelectTarget`: what it decides, counted over many examples, and what that sounds like."""

from collections import Counter

import numpy as np
import pytest

from hive_datasets import Mixer, Ontology, OntologyError, SelectTarget
from hive_datasets.recipe import Recipe, Source
from hive_datasets.training.targets import find_related

LABELS = ("Church bell", "Rain", "Organ", "Guitar", "Wind")


def recipe_of(labels, mix_id="a", path="a.wav"):
    sources = [
        Source(f"s{number}", path, label, 0.0, 4.0, 0.0, 5.0, 2.0, 0.0, 2.0) for number, label in enumerate(labels, 1)
    ]
    return Recipe(mix_id, "train", 44100, 4.0, tuple(sources), 0.5, 0.95)


@pytest.fixture(scope="module")
def many():
    return [recipe_of(LABELS[: 2 + number % 4], f"sample_{number:08d}") for number in range(2000)]


def assert_share(flags, share):
    """Within five standard deviations."""
    flags = list(flags)
    assert abs(np.mean(flags) - share) < 5 * np.sqrt(share * (1 - share) / len(flags))


def test_one_stem_by_chance(many):
    select = SelectTarget()
    examples = [example for recipe in many for example in select(recipe)]
    assert [example.recipe for example in examples] == many
    for example in examples:
        (target,) = example.targets
        assert example.label == example.query == example.recipe.labels[target] and example.options == {}
    for count in range(2, 6):
        of_count = [example.targets[0] for example in examples if example.recipe.num_sources == count]
        for number in range(count):
            assert_share([target == number for target in of_count], 1 / count)


def test_by_seed_mix_id_and_epoch_only(many):
    options = {"templates": ["{label}", "a {label}"], "silent": 0.3, "single": 0.3, "snr_db": (-5, 5), "polarity": 0.5}
    select = SelectTarget(**options)
    alone = [select(recipe, 2) for recipe in many[:50]]
    assert [SelectTarget(**options)(recipe, 2) for recipe in reversed(many[:50])] == alone[::-1]
    assert alone != [select(recipe, 3) for recipe in many[:50]]
    assert alone != [SelectTarget(**options, seed=1)(recipe, 2) for recipe in many[:50]]


def test_an_option_moves_no_other(many):
    plain = [example.targets for recipe in many[:100] for example in SelectTarget()(recipe, 1)]
    remixed = SelectTarget(snr_db=(-5, 5), polarity=0.5, gain_db=(-6, 0), templates=["{label}", "a {label}"])
    assert [example.targets for recipe in many[:100] for example in remixed(recipe, 1)] == plain


def test_in_turn_and_all(many):
    for recipe in many[:8]:
        in_turn = [example for epoch in range(recipe.num_sources) for example in SelectTarget("in_turn")(recipe, epoch)]
        every = SelectTarget("all")(recipe)
        for examples in (in_turn, every):
            assert sorted(example.targets for example in examples) == [(n,) for n in range(recipe.num_sources)]
        assert all(example.recipe is recipe for example in every)
    firsts = [SelectTarget("in_turn")(recipe)[0].targets for recipe in many if recipe.num_sources == 2]
    assert_share([targets == (0,) for targets in firsts], 0.5)


def test_a_label_that_is_there_twice_is_one_target():
    recipe = recipe_of(["Rain", "Organ", "Rain"])
    assert [example.targets for example in SelectTarget("all")(recipe)] == [(0, 2), (1,)]


def test_a_label_that_was_decided_before(many):
    assert SelectTarget()(many[3], label="Guitar")[0].targets == (3,)
    with pytest.raises(ValueError, match="mixture sample_00000003 has no source 'Owl', but Church bell, Rain"):
        SelectTarget()(many[3], label="Owl")


def test_silence_where_a_label_is_absent(many):
    select, ontology = SelectTarget(silent=0.2), Ontology.hive()
    examples = [example for recipe in many for example in select(recipe)]
    assert_share([example.options["silent"] for example in examples], 0.2)
    asked = Counter()
    for example in examples:
        assert (example.targets == ()) == example.options["silent"]
        if example.options["silent"]:
            asked[example.label] += 1
            for label in example.recipe.labels:
                assert example.label != label
                assert example.label not in ontology.ancestors(label) + ontology.descendants(label)
    assert len(asked) > 200 and max(asked.values()) < 15  # of 290 labels, 1.4 times each


def test_absent_labels_beside_those_that_are_there(many):
    present = [example for recipe in many for example in SelectTarget("all")(recipe)]
    select = SelectTarget("all", ["a {label}"], absent=0.2, snr_db=(-5, 5))
    examples = [select(recipe) for recipe in many]
    assert [example.label for each in examples for example in each if example.targets] == [e.label for e in present]
    assert_share([not example.targets for each in examples for example in each], 0.2)
    for each in examples:
        added = [example for example in each if not example.targets]
        assert len({example.label for example in added}) == len(added)
        for example in added:
            assert example.options["absent"] and example.query == f"a {example.label}"
            assert any(example.recipe is other.recipe for other in each if other.targets)
            assert not find_related("hive", example.label) & set(example.recipe.labels)


def test_what_is_above_or_below_is_not_absent():
    """Asked for an animal, silence is wrong while a cat purrs, and so it is of a purr while an animal is heard."""
    select = SelectTarget(silent=1.0, ontology="audioset", labels=["Animal", "Purr", "Cat", "Rain"])
    for label in ("Purr", "Animal"):
        assert {select(recipe_of([label]), epoch)[0].label for epoch in range(50)} == {"Rain"}
    assert find_related("audioset", "my own") == {"my own"}
    with pytest.raises(ValueError, match="every one of 1 labels is in a mixture of Rain, or related to it"):
        SelectTarget(silent=1.0, labels=["Rain"])(recipe_of(["Rain"]))


def test_the_target_alone(many):
    examples = [example for recipe in many for example in SelectTarget(single=0.3, silent=0.3)(recipe)]
    assert_share([example.options["single"] for example in examples], 0.3)
    assert_share([example.options["single"] and example.options["silent"] for example in examples], 0.09)
    for example in examples:
        if example.options["single"]:
            assert example.recipe.num_sources == 1
            assert example.targets == (() if example.options["silent"] else (0,))


def test_stems_of_other_mixtures(many):
    select, other = SelectTarget(swap=0.5), recipe_of(["Church bell", "Owl", "Drip"], "other", "other.wav")
    wanted = [select.find_partner(recipe, 1, 2000) for recipe in many]
    assert_share([row is not None for row in wanted], 0.5)
    assert len(set(wanted)) > 700 and all(row is None or 0 <= row < 2000 for row in wanted)
    for recipe in many[:200]:
        (example,) = select(recipe, 1, partner=other)
        (new,) = [number for number, source in enumerate(example.recipe.sources) if source.path == "other.wav"]
        assert new not in example.targets and example.recipe.num_sources == recipe.num_sources
        names = example.recipe.labels
        assert len(set(names)) == len(names) and example.options["swap"] in ("other/s1", "other/s2", "other/s3")
        assert (names[new] == "Church bell") <= (0 not in example.targets)
    longer = Recipe("longer", "train", 44100, 10.0, other.sources, 0.5, 0.95)
    for unfit in (many[0], longer, recipe_of(["Rain", "Rain"])):
        (example,) = SelectTarget(swap=1.0)(many[0], label="Rain", partner=unfit)
        assert example.options["swap"] is None and example.recipe is many[0]


def test_levels(mini, corpora):
    """As they sound: by the RMS of the stems, which `rms_gain` evens out; the power of all stays."""
    mixer, select = Mixer(corpora), SelectTarget(snr_db=(-12.0, 3.0))
    drawn = []
    for recipe in mini[:24]:
        (example,) = select(recipe)
        (target,) = example.targets
        stems, before = (mixer(each)["sources"].astype(np.float64) for each in (example.recipe, recipe))
        powers = np.mean(stems**2, axis=1)
        snr_db = 10 * np.log10(powers[target] / powers)
        np.testing.assert_allclose(snr_db, example.options["snr_db"], atol=1e-3)
        assert np.sum(powers) == pytest.approx(np.mean(before**2, axis=1).sum(), rel=1e-4)
        drawn += [level for number, level in enumerate(snr_db) if number != target]
    assert min(drawn) < -9 and max(drawn) > 0 and min(drawn) > -12.001 and max(drawn) < 3.001


def test_gain_and_polarity(mini, corpora):
    mixer, select = Mixer(corpora), SelectTarget(gain_db=(-6.0, 6.0), polarity=0.5)
    signs, gains = [], []
    for recipe in mini[:16]:
        (example,) = select(recipe)
        signs += example.options["polarity"]
        gains.append(example.options["gain_db"])
        factors = 10 ** (gains[-1] / 20) * np.array(example.options["polarity"])[:, None]
        np.testing.assert_allclose(mixer(example.recipe)["sources"], mixer(recipe)["sources"] * factors, atol=1e-6)
    assert set(signs) == {-1, 1} and min(gains) < -3 and max(gains) > 3


def test_templates(many):
    select = SelectTarget(templates=["{label}", "the {label}, please"])
    examples = [example for recipe in many for example in select(recipe)]
    assert_share([example.query == f"the {example.label}, please" for example in examples], 0.5)
    assert {example.query for example in examples} == {
        text for label in LABELS for text in (label, f"the {label}, please")
    }


@pytest.mark.parametrize(
    "options",
    [
        {"stems": "two"},
        {"silent": 1.5},
        {"snr_db": (5, -5)},
        {"gain_db": (0, 500)},
        {"templates": "{label}"},
        {"templates": ["the sound"]},
        {"labels": []},
        {"polarity": float("nan")},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=r"must be|has no \"\{label\}\""):
        SelectTarget(**options)
    with pytest.raises(OntologyError):
        SelectTarget(ontology="nowhere.json")
