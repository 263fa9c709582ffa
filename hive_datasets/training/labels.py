"""Labels as numbers, for models that take classes instead of text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..ontology import find_ontology
from ..recipe.selection import unknown_label


class LabelEncoder:
    """Labels as integers, and as multi-hot vectors over all classes.

    Args:
        labels: the classes, in order; by default the leaves of the ontology, or all of its nodes with `ancestors`.
        ancestors: whether a vector also has all classes of which a label is a kind.
        ontology: "hive", "audioset" or a file in AudioSet's format.

    Raises:
        ValueError: a class is there twice.
        UnknownLabelError: a label is no class, when it is asked for; it offers classes alike.
        OntologyError: the ontology cannot be read.

    Example:
        >>> encode = LabelEncoder(ancestors=True)
        >>> len(encode), encode.index("Church bell")
        (354, 114)
        >>> vector = encode.multi_hot(["Church bell"])
        >>> vector.dtype, [encode.classes[position] for position in np.flatnonzero(vector)]
        (dtype('float32'), ['Music', 'Musical instrument', 'Bell', 'Church bell', 'Sounds of things'])
    """

    def __init__(
        self,
        labels: Sequence[str] | None = None,
        *,
        ancestors: bool = False,
        ontology: str | os.PathLike[str] = "hive",
    ) -> None:
        nodes = find_ontology(ontology)
        if labels is None:
            labels = [node.name for node in nodes] if ancestors else nodes.leaves()
        #: The classes, in order.
        self.classes = tuple(labels)
        self._numbers = {label: number for number, label in enumerate(self.classes)}
        if len(self._numbers) < len(self.classes):
            twice = next(label for number, label in enumerate(self.classes) if self._numbers[label] != number)
            raise ValueError(f"class {twice!r} is there twice")
        above = {label: nodes.ancestors(label) if ancestors and label in nodes else [] for label in self.classes}
        #: The numbers that a vector of a label has.
        self._marked = {
            label: [number, *(self._numbers[name] for name in above[label] if name in self._numbers)]
            for label, number in self._numbers.items()
        }

    def __len__(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def index(self, label: str) -> int:
        """The number of a label, from 0."""
        self._check(label)
        return self._numbers[label]

    def multi_hot(self, labels: Iterable[str]) -> npt.NDArray[np.float32]:
        """1 at the classes of some labels, 0 elsewhere: float32 of shape (C,)."""
        vector = np.zeros(len(self.classes), np.float32)
        for label in labels:
            self._check(label)
            vector[self._marked[label]] = 1.0
        return vector

    def _check(self, label: str) -> None:
        if label not in self._numbers:
            raise unknown_label(label, self.classes, "LabelEncoder", "there is no class")
