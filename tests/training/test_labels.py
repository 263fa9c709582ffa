"""Labels as numbers."""

import numpy as np
import pytest

from hive_datasets import Ontology, UnknownLabelError
from hive_datasets.training import LabelEncoder


def test_leaves_and_nodes():
    ontology = Ontology.hive()
    assert list(LabelEncoder().classes) == ontology.leaves()
    encode = LabelEncoder(ancestors=True)
    assert list(encode.classes) == [node.name for node in ontology]
    for label in ontology.leaves():
        vector = encode.multi_hot([label])
        assert {encode.classes[number] for number in np.flatnonzero(vector)} == {label, *ontology.ancestors(label)}
        assert encode.classes[encode.index(label)] == label


def test_classes_of_ones_own():
    encode = LabelEncoder(["Rain", "my own", "Music", "Church bell"], ancestors=True)
    assert encode.multi_hot(["Church bell", "my own"]).tolist() == [0, 1, 1, 1] and encode.index("my own") == 1
    assert encode.multi_hot([]).tolist() == [0, 0, 0, 0] and len(encode) == 4
    for ask in (encode.index, lambda label: encode.multi_hot([label])):
        with pytest.raises(UnknownLabelError, match=r"there is no class 'Church bel'\. Nearest: 'Church bell'"):
            ask("Church bel")
    with pytest.raises(ValueError, match="class 'a' is there twice"):
        LabelEncoder(["a", "b", "a"])
