"""Steps that ask a model which listens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from ..backends.protocols import Answer, AudioJudge, Clip, Question
from ..errors import BackendError
from ..ontology import Ontology, find_ontology
from .clips import clip_or_problem
from .labels import LABELS_TYPE
from .steps import Record, Scorer, identity_of, labels_of

_SINGLE = Question(
    text=(
        "Listen to the recording. Is there only one type of sound in it, such as only a dog or only rain, without any "
        "other sound in the foreground or behind it? Answer True or False, and nothing else."
    ),
    choices=("True", "False"),
    captions=("a recording of a single type of sound", "a recording of several different sounds at once"),
)
#: The choice that no candidate fits.
NONE = "-1"


@dataclass(frozen=True)
class Asking(Scorer):
    """What steps that ask a judge have in common: their columns."""

    judge: AudioJudge
    #: What the columns begin with.
    prefix: ClassVar[str]

    def __post_init__(self) -> None:
        if isinstance(self.judge, type) or not isinstance(self.judge, AudioJudge):
            raise TypeError(f"judge must be an AudioJudge, with a method `ask`, a model and a version: {self.judge!r}")

    def columns(self) -> dict[str, pa.DataType]:
        """The score, the reason why there is none, the model and its version."""
        return score_columns(self.prefix)

    def provenance(self) -> dict[str, str]:
        """The judge."""
        return identity_of(self.judge)

    def scored(self, score: float | None, problem: str) -> dict[str, Any]:
        """The values of its columns."""
        values = (score, "" if score is not None else problem, *self.provenance().values())
        return dict(zip(score_columns(self.prefix), values, strict=True))


@dataclass(frozen=True)
class SingleEvent(Asking):
    """Scores whether a record holds one type of sound only.

    Adds ``single_event_score``, the probability that it does where the judge tells probabilities, else 1 or 0;
    ``single_event_reason``, why there is no score, else empty; ``single_event_model`` and ``single_event_version``.
    Decide with ``MinScore("single_event", 0.5)``.

    Args:
        judge: who is asked.

    Example:
        >>> class Loudness:
        ...     model, version = "loudness", "1"
        ...     def ask(self, clips, questions):
        ...         return [Answer("True" if abs(clip.samples).max() > 0.5 else "False") for clip in clips]
        >>> import numpy as np
        >>> clips = [{"array": np.full(1600, level), "sampling_rate": 16000} for level in (0.9, 0.1)]
        >>> SingleEvent(Loudness())({"audio": [*clips, "nowhere.wav"]})["single_event_score"]
        array([ 1.,  0., nan])
    """

    prefix: ClassVar[str] = "single_event"

    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns of each record."""
        answers = ask_about(self.judge, records, [_SINGLE] * len(records))
        return [self.scored(_probability_of_true(answer), answer.problem) for answer in answers]


@dataclass(frozen=True)
class LeafLabel(Asking):
    """Brings labels to leaves of Hive's ontology, as the authors do.

    Of each label of a record:

    1. a node of Hive's ontology with one leaf below it, or none, stays as it is;
    2. for one with several, the judge picks one of these leaves (all parents count, so a leaf is offered once);
    3. one that is not in Hive's ontology becomes its nearest ancestor, in AudioSet's, that is a leaf of Hive's; of
       equally near ones, the one that AudioSet's file has first.

    Adds ``leaf_label_score``, the probability of what the judge picked where it tells such, else 1; of several labels,
    the least; ``leaf_label_reason``, why there is no leaf, else empty; ``leaf_label_model`` and ``leaf_label_version``.
    ``labels`` becomes the leaves, or stays if there is a reason. Decide with ``MinScore("leaf_label")``.

    Args:
        judge: who is asked.
        hive: the ontology whose leaves are wanted: "hive", "audioset", or a file in AudioSet's format.
        audioset: the ontology that leads from other labels to these.

    Example:
        >>> class First:
        ...     model, version = "first", "1"
        ...     def ask(self, clips, questions):
        ...         return [Answer(question.choices[0]) for question in questions]
        >>> import numpy as np
        >>> clip = {"array": np.zeros(1600), "sampling_rate": 16000}
        >>> batch = LeafLabel(First())({"audio": [clip] * 3, "labels": [["Pig"], ["Oink"], ["Speech"]]})
        >>> batch["labels"]
        [['Pig'], ['Pig'], ['Male speech, man speaking']]
    """

    hive: str = "hive"
    audioset: str = "audioset"
    prefix: ClassVar[str] = "leaf_label"

    def __post_init__(self) -> None:
        super().__post_init__()
        find_ontology(self.hive), find_ontology(self.audioset)

    def columns(self) -> dict[str, pa.DataType]:
        """The score's columns, and the labels."""
        return {"labels": LABELS_TYPE, **super().columns()}

    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns of each record."""
        hive, audioset = find_ontology(self.hive), find_ontology(self.audioset)
        routes = [[leaf_candidates(label, hive, audioset) for label in labels_of(record)] for record in records]
        asked = [
            (record, route) for record, each in zip(records, routes, strict=True) for route in each if len(route) > 1
        ]
        answers = iter(
            ask_about(self.judge, [record for record, _ in asked], [choice_question(leaves) for _, leaves in asked])
        )
        return [self._resolve(record, each, answers) for record, each in zip(records, routes, strict=True)]

    def _resolve(self, record: Record, routes: Sequence[Sequence[str]], answers: Any) -> dict[str, Any]:
        labels: list[str] = []
        scores, problem = [1.0], "" if routes else "no label"
        for label, candidates in zip(labels_of(record), routes, strict=True):
            if len(candidates) < 2:
                labels += candidates
                problem = problem if candidates else self._why_none(label)
                continue
            answer: Answer = next(answers)
            if answer.choice is None or answer.choice == NONE:
                problem = answer.problem if answer.choice is None else f"none of the leaves: below {label}"
                continue
            labels.append(candidates[int(answer.choice)])
            scores.append(1.0 if answer.probability is None else answer.probability)
        if problem:
            return {"labels": labels_of(record), **self.scored(None, problem)}
        return {"labels": list(dict.fromkeys(labels)), **self.scored(min(scores), "")}

    def _why_none(self, label: str) -> str:
        is_known = label in find_ontology(self.hive) or label in find_ontology(self.audioset)
        return f"no leaf above: {label}" if is_known else f"label not in the ontology: {label}"


def leaf_candidates(label: str, hive: Ontology, audioset: Ontology) -> list[str]:
    """The labels that a label may become: one, several to choose from, or none.

    Example:
        >>> hive, audioset = Ontology.hive(), Ontology.audioset()
        >>> leaf_candidates("Ocean", hive, audioset), leaf_candidates("Hi-hat", hive, audioset)
        (['Ocean'], ['Cymbal'])
        >>> len(leaf_candidates("Animal", hive, audioset)), leaf_candidates("Unheard-of", hive, audioset)
        (20, [])
    """
    if label in hive:
        leaves = hive.leaves(label)
        return leaves if len(leaves) > 1 else [hive.name_of(label)]
    above = audioset.ancestors(label) if label in audioset else []
    return [name for name in above if name in hive and hive.is_leaf(name)][:1]


def choice_question(labels: Sequence[str]) -> Question:
    """Which of several labels is heard, to be answered by number; -1 for none of them.

    Example:
        >>> choice_question(["Bark", "Meow"]).choices
        ('0', '1', '-1')
    """
    listed = "\n".join(f"{number}: {label}" for number, label in enumerate(labels))
    text = (
        f"Listen to the recording. Which of these kinds of sound is it?\n{listed}\n"
        f"Answer with the number of the best one, and nothing else. If none of them fits, answer {NONE}."
    )
    captions = (*(f"the sound of {label.lower()}" for label in labels), "some other sound")
    return Question(text, (*map(str, range(len(labels))), NONE), captions)


def ask_about(judge: AudioJudge, records: Sequence[Record], questions: Sequence[Question]) -> list[Answer]:
    """A judge's answers about records; of those that cannot be read, and of answers that make no sense, the problem."""
    heard = [clip_or_problem(record) for record in records]
    pairs = [(clip, question) for (clip, _), question in zip(heard, questions, strict=True) if clip is not None]
    answers = iter(ask_judge(judge, pairs))
    return [Answer(problem=problem) if clip is None else next(answers) for clip, problem in heard]


def ask_judge(judge: AudioJudge, asked: Sequence[tuple[Clip, Question]]) -> list[Answer]:
    """A judge's answers to questions, each about a clip; of answers that make no sense, the problem.

    Raises:
        BackendError: it has not answered everything.
    """
    if not asked:
        return []
    answers = judge.ask([clip for clip, _ in asked], [question for _, question in asked])
    if len(answers) != len(asked) or not all(isinstance(answer, Answer) for answer in answers):
        raise BackendError(
            f"{judge.model} gives {answers!r:.60} for {len(asked)} clips, and not as many of type Answer"
        )
    return [_checked(answer, question) for answer, (_, question) in zip(answers, asked, strict=True)]


def _checked(answer: Answer, question: Question) -> Answer:
    """An answer, or what is wrong with it."""
    if answer.choice is not None and answer.choice not in question.choices:
        return Answer(problem=f"no answer: {answer.choice!r:.60} is none of the choices")
    if answer.choice is None and not answer.problem:
        return Answer(problem="no answer")
    wrong = [value for value in answer.probabilities.values() if not 0 <= value <= 1]
    return Answer(problem=f"no answer: its probability is {wrong[0]}") if wrong else answer


def score_columns(prefix: str) -> dict[str, pa.DataType]:
    """The columns that a step adds which asks a model.

    Example:
        >>> list(score_columns("tag"))
        ['tag_score', 'tag_reason', 'tag_model', 'tag_version']
    """
    types = {"score": pa.float64(), "reason": pa.string(), "model": pa.string(), "version": pa.string()}
    return {f"{prefix}_{name}": type for name, type in types.items()}


def _probability_of_true(answer: Answer) -> float | None:
    if answer.choice is None:
        return None
    return answer.probabilities.get("True", float(answer.choice == "True"))
