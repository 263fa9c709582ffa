"""Choosing the mixtures whose sources are what their labels say, as the authors of Hive do."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from ..backends.protocols import Clip
from ..errors import RecordError, SourceError, SourceRootError
from ..mixing import Mixer
from ..ontology import Ontology, find_ontology
from ..recipe import Recipe, parse_recipe
from .judging import NONE, Asking, ask_judge, choice_question
from .steps import Record


@dataclass(frozen=True)
class CurateMixtures(Asking):
    """Scores mixtures by whether a judge tells each source from what its label may be confused with.

    For each source, heard alone, the judge chooses among its label and the siblings of that label in the ontology, of
    all parents, or none of them: 1 if it picks the label, else 0. A label without siblings counts 1 and is not asked
    about. The mixture's score is the mean over its sources. The labels are offered in the ontology's order, so that
    the place of the right one tells nothing.

    Takes rows of ``load_dataset("hive")``. Adds ``confusion_score``; ``confusion_picked``, what was picked for each
    source, empty for none; ``confusion_reason``, why there is no score, else empty; ``confusion_model`` and
    ``confusion_version``. Decide with `best_mixtures`, or ``MinScore("confusion", 1.0)``.

    Args:
        judge: who is asked.
        ontology: "hive", "audioset", or a file in AudioSet's format.

    Example:
        >>> import hive_datasets
        >>> from hive_datasets.backends import Answer
        >>> class Trusting:
        ...     model, version = "trusting", "1"
        ...     def ask(self, clips, questions):
        ...         return [Answer(question.choices[0]) for question in questions]
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train", streaming=True)
        >>> scored = next(iter(ds.map(CurateMixtures(Trusting()), batched=True, batch_size=4)))
        >>> scored["labels"], scored["confusion_picked"], float(scored["confusion_score"])
        (['Engine', 'Clock'], ['Bell', 'Ratchet, pawl'], 0.0)
    """

    ontology: str = "hive"
    prefix: ClassVar[str] = "confusion"

    def __post_init__(self) -> None:
        super().__post_init__()
        find_ontology(self.ontology)

    def columns(self) -> dict[str, pa.DataType]:
        """What was picked, and the score's columns."""
        return {"confusion_picked": pa.list_(pa.string()), **super().columns()}

    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns of each mixture."""
        ontology = find_ontology(self.ontology)
        heard: list[tuple[int, int, Clip, list[str]]] = []
        picked: list[list[str]] = []
        problems = [""] * len(records)
        for number, record in enumerate(records):
            try:
                labels, stems, sampling_rate = _render(record)
            except (SourceError, SourceRootError) as error:
                if isinstance(error, SourceRootError) and not error.configured:
                    raise
                problems[number] = f"unreadable: {error.message}"
                picked.append([])
                continue
            picked.append(list(labels))
            for place, (label, stem) in enumerate(zip(labels, stems, strict=True)):
                if label not in ontology:
                    problems[number] = f"label not in the ontology: {label}"
                elif pool := _confusable(label, ontology):
                    heard.append((number, place, Clip(stem, sampling_rate), pool))
        heard = [each for each in heard if not problems[each[0]]]
        answers = ask_judge(self.judge, [(clip, choice_question(pool)) for *_, clip, pool in heard])
        for (number, place, _, pool), answer in zip(heard, answers, strict=True):
            if answer.choice is None:
                problems[number] = answer.problem
            else:
                picked[number][place] = "" if answer.choice == NONE else pool[int(answer.choice)]
        return [self._row(*row) for row in zip(records, picked, problems, strict=True)]

    def _row(self, record: Record, picked: list[str], problem: str) -> dict[str, Any]:
        if problem:
            return {"confusion_picked": [], **self.scored(None, problem)}
        right = [label == choice for label, choice in zip(_recipe_of(record).labels, picked, strict=True)]
        return {"confusion_picked": picked, **self.scored(sum(right) / len(right), "")}


def best_mixtures(dataset: Dataset, fraction: float = 0.5, by: str | Sequence[str] = ("num_sources",)) -> Dataset:
    """The mixtures of the highest ``confusion_score``, of each group as many.

    Of n mixtures with a score, the best ``ceil(fraction * n)`` are kept; of equal ones, those whose `mix_id` is first
    in the alphabet. Those without a score are not kept. The order stays.

    Args:
        dataset: with the columns of `CurateMixtures`, and `mix_id`.
        fraction: how many to keep, from 0 to 1.
        by: columns; mixtures that have the same in all of them are a group.

    Raises:
        ValueError: `fraction` is out of range.
        RecordError: a column is missing, or it is a stream.

    Example:
        >>> scores = {"mix_id": ["a", "b", "c", "d"], "num_sources": [2, 2, 2, 3]}
        >>> scored = Dataset.from_dict({**scores, "confusion_score": [0.5, 1.0, 0.5, 0.0]})
        >>> best_mixtures(scored)["mix_id"][:]
        ['a', 'b', 'd']
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be from 0 to 1, not {fraction}")
    if not isinstance(dataset, Dataset):
        raise RecordError(f"the best are chosen of a Dataset, not of {type(dataset).__name__}: a stream shows no end")
    by = [by] if isinstance(by, str) else list(by)
    needed = ["mix_id", "confusion_score", *by]
    if missing := [name for name in needed if name not in dataset.column_names]:
        raise RecordError(f"there is no column {', '.join(missing)}, only {', '.join(dataset.column_names)}")
    groups: dict[tuple[str, ...], list[tuple[float, str, int]]] = defaultdict(list)
    rows = dataset.select_columns(needed).with_format(None)
    for number, row in enumerate(rows):
        score = row["confusion_score"]
        if score is not None and score == score:
            groups[tuple(map(repr, (row[name] for name in by)))].append((-score, row["mix_id"], number))
    counts = {key: math.ceil(round(fraction * len(group), 9)) for key, group in groups.items()}  # 0.07 * 100 is over 7
    kept = [number for key, group in groups.items() for *_, number in sorted(group)[: counts[key]]]
    return dataset.select(sorted(kept))


def _confusable(label: str, ontology: Ontology) -> list[str]:
    """A label among its siblings, in the ontology's order; nothing if it has none."""
    siblings = ontology.siblings(label)
    among = {*siblings, ontology.name_of(label)}
    return [node.name for node in ontology if node.name in among] if siblings else []


def _render(record: Record) -> tuple[Sequence[str], Sequence[npt.NDArray[np.float32]], int]:
    """The labels, stems and rate of a mixture, decoded or not."""
    if "mixture" not in record:
        raise RecordError(f"there is no column mixture, as load_dataset('hive') has it, only {', '.join(record)}")
    value = record["mixture"]
    if value is None:
        raise SourceError("its sources could not be read")
    if not isinstance(value, Mapping):
        raise RecordError(f"mixture is {value!r:.60}, not what load_dataset('hive') has there")
    rendered = value if "mix" in value else Mixer()(parse_recipe(value))
    stems = np.asarray(rendered["sources"], np.float32)
    return _recipe_of(record).labels, list(stems), int(rendered["sampling_rate"])


def _recipe_of(record: Record) -> Recipe:
    value = record["mixture"]
    return parse_recipe(json.loads(value["recipe"]) if "recipe" in value else value)
