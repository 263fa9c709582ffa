import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import Ontology, OntologyError
from hive_datasets.curation import MutuallyExclusiveLabels, SingleLabel
from hive_datasets.curation.labels import drop_ancestors


def test_single_labels():
    assert SingleLabel()({"labels": [["Dog", "Dog"]]}) == [True]
    labels = ["Dog", ["Dog"], [], ["Dog", "Bark"]]
    assert SingleLabel()({"labels": labels}) == [True, True, True, False]
    assert SingleLabel("drop")({"text_label": labels}) == [True, True, False, False]
    assert SingleLabel("drop").reasons([{"labels": []}, {"labels": ["Dog", "Bark"]}]) == [
        ("no label", ""),
        ("several labels", "Dog, Bark"),
    ]
    with pytest.raises(ValueError, match="'keep' or 'drop'"):
        SingleLabel("maybe")


@given(st.lists(st.sampled_from([node.name for node in Ontology.audioset()] + ["Unheard-of"]), max_size=6))
def test_no_label_has_a_descendant_among_them(labels):
    audioset = Ontology.audioset()
    left = drop_ancestors(labels, audioset)
    known = [label for label in left if label in audioset]
    assert not any(one in audioset.ancestors(other) for one, other in itertools.permutations(known, 2))
    gone = set(labels) - set(left)
    assert all(any(label in audioset.ancestors(other) for other in known) for label in gone)
    assert left == [label for label in dict.fromkeys(labels) if label in left]


def test_mutually_exclusive_labels():
    step = MutuallyExclusiveLabels("hive")
    batch = {"labels": [["Animal", "Pig", "Pig"], ["Mine", "Animal"], []]}
    assert step(batch) == {"labels": [["Pig"], ["Mine", "Animal"], []]}
    with pytest.raises(OntologyError, match="is not there"):
        MutuallyExclusiveLabels("nowhere.json")
