"""Steps that look at labels only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from ..ontology import Ontology, find_ontology
from .steps import Filter, Reason, Record, Scorer, labels_of

LABELS_TYPE = pa.list_(pa.string())


@dataclass(frozen=True)
class SingleLabel(Filter):
    """Keeps records of one label.

    Args:
        empty: "keep" or "drop" records without a label. The authors keep them: a later step may tag them.

    Raises:
        ValueError: `empty` is neither.

    Example:
        >>> SingleLabel()({"labels": [["Dog"], ["Dog", "Cat"], []]}), SingleLabel("drop")({"labels": [[]]})
        ([True, False, True], [False])
    """

    empty: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if self.empty not in ("keep", "drop"):
            raise ValueError(f"empty must be 'keep' or 'drop', not {self.empty!r}")

    def reasons(self, records: Sequence[Record]) -> list[Reason | None]:
        """Why each is dropped."""
        return [self._reason(list(dict.fromkeys(labels_of(record)))) for record in records]

    def _reason(self, labels: Sequence[str]) -> Reason | None:
        if len(labels) > 1:
            return Reason("several labels", ", ".join(labels))
        return Reason("no label") if self.empty == "drop" and not labels else None


@dataclass(frozen=True)
class MutuallyExclusiveLabels(Scorer):
    """Leaves of each record's labels those that say most: one with a descendant among them goes.

    Labels that the ontology has not stay, and none stays twice.

    Args:
        ontology: "hive", "audioset", or a file in AudioSet's format.

    Raises:
        OntologyError: there is no such ontology.

    Example:
        >>> MutuallyExclusiveLabels()({"labels": [["Animal", "Dog", "Bark"], ["Dog", "Music"]]})
        {'labels': [['Bark'], ['Dog', 'Music']]}
    """

    ontology: str = "audioset"

    def __post_init__(self) -> None:
        find_ontology(self.ontology)

    def columns(self) -> dict[str, pa.DataType]:
        """The labels."""
        return {"labels": LABELS_TYPE}

    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The labels that are left."""
        ontology = find_ontology(self.ontology)
        return [{"labels": drop_ancestors(labels_of(record), ontology)} for record in records]


def drop_ancestors(labels: Sequence[str], ontology: Ontology) -> list[str]:
    """The labels none of whose descendants is among them, each once.

    Example:
        >>> drop_ancestors(["Animal", "Meow", "Hiss", "Cat"], Ontology.audioset())
        ['Meow', 'Hiss']
    """
    above = {name for label in labels if label in ontology for name in ontology.ancestors(label)}
    # a name and an id may stand for the same node
    once = {ontology.id_of(label) if label in ontology else label: label for label in reversed(labels)}
    left = [label for label in dict.fromkeys(labels) if label in once.values()]
    return [label for label in left if label not in ontology or ontology.name_of(label) not in above]
