import csv
from pathlib import Path

import numpy as np
import pytest

from hive_datasets import BackendError, Ontology
from hive_datasets.curation import LeafLabel, SingleEvent
from hive_datasets.curation.judging import choice_question, leaf_candidates
from hive_datasets.ontology import audioset_classes
from tests.curation.models import PeakJudge, SayingJudge, tone

#: Of each class of AudioSet, what becomes of it: made from the two ontologies by other code than the library's.
MAPPING = list(csv.DictReader(Path(__file__).with_name("leaf_mapping.csv").read_text(encoding="utf-8").splitlines()))


def test_the_table_has_all_classes():
    assert tuple(row["class"] for row in MAPPING) == audioset_classes()
    rules = [row["rule"] for row in MAPPING]
    assert {rule: rules.count(rule) for rule in set(rules)} == {"judged": 37, "kept": 278, "dropped": 57, "mapped": 155}


@pytest.mark.parametrize("row", MAPPING, ids=lambda row: row["class"])
def test_the_leaves_of_a_class(row):
    found = leaf_candidates(row["class"], Ontology.hive(), Ontology.audioset())
    assert sorted(found) == sorted(filter(None, row["leaves"].split("|")))


def test_all_classes_through_the_step():
    """The judge is asked about those with several leaves only, and its answer is taken."""
    labels = [[row["class"]] for row in MAPPING]
    batch = LeafLabel(PeakJudge(told=False))({"audio": [tone(0.1, 0.9)] * len(labels), "labels": labels})
    hive = Ontology.hive()
    for row, after, score, reason in zip(
        MAPPING, batch["labels"], batch["leaf_label_score"], batch["leaf_label_reason"], strict=True
    ):
        if row["rule"] == "dropped":
            assert (after, reason) == ([row["class"]], f"no leaf above: {row['class']}") and np.isnan(score)
        else:
            expected = hive.leaves(row["class"])[0] if row["rule"] == "judged" else row["leaves"]
            assert (after, score, reason) == ([expected], 1.0, "")


def test_what_the_judge_may_answer():
    clip = tone(0.1, 0.9)
    for choice, labels, reason in (
        ("1", ["Cat"], ""),
        ("-1", ["Animal"], "none of the leaves: below Animal"),
        ("99", ["Animal"], "no answer: '99' is none of the choices"),
        ("one", ["Animal"], "no answer: 'one' is none of the choices"),
        (None, ["Animal"], "no answer"),
    ):
        batch = LeafLabel(SayingJudge(choice))({"audio": [clip], "labels": [["Animal"]]})
        expected = [Ontology.hive().leaves("Animal")[1]] if choice == "1" else labels
        assert (batch["labels"], batch["leaf_label_reason"]) == ([expected], [reason])
    batch = LeafLabel(SayingJudge("0", probability=0.25))({"audio": [clip], "labels": [["Animal"]]})
    assert batch["leaf_label_score"] == [0.25]
    assert (batch["leaf_label_model"], batch["leaf_label_version"]) == (["saying"], ["2"])


def test_one_bad_record_loses_no_other():
    batch = {"audio": ["gone.wav", tone(0.1, 0.9)], "labels": [["Animal"], ["Animal"]]}
    found = LeafLabel(PeakJudge())(batch)
    assert found["leaf_label_reason"] == ["unreadable: gone.wav: there is no such file", ""]
    # what needs no judge is not read
    assert LeafLabel(PeakJudge())({"audio": ["gone.wav"], "labels": [["Pig"]]})["leaf_label_reason"] == [""]


def test_several_labels_and_none():
    clip = tone(0.1, 0.9)
    labels = [["Pig", "Oink"], [], ["Pig", "Unheard-of"], ["Echo"]]
    batch = LeafLabel(PeakJudge())({"audio": [clip] * 4, "labels": labels})
    assert batch["labels"] == [["Pig"], [], ["Pig", "Unheard-of"], ["Echo"]]
    why = ["", "no label", "label not in the ontology: Unheard-of", "no leaf above: Echo"]
    assert batch["leaf_label_reason"] == why


def test_single_events():
    clips = [tone(0.1, 0.8), tone(0.1, 0.2), "gone.wav"]
    told = SingleEvent(PeakJudge())({"audio": clips})
    assert told["single_event_score"][:2] == pytest.approx([0.8, 0.0], abs=0.01)
    silent = SingleEvent(PeakJudge(told=False))({"audio": clips})
    np.testing.assert_array_equal(silent["single_event_score"], [1, 0, np.nan])
    assert silent["single_event_reason"] == ["", "", "unreadable: gone.wav: there is no such file"]
    assert SingleEvent(SayingJudge("False", probability=0.2))({"audio": clips[:1]})["single_event_score"] == [0]


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        (SayingJudge(None, "no answer: the server refuses it"), "no answer: the server refuses it"),
        (SayingJudge("Maybe"), "no answer: 'Maybe' is none of the choices"),
        (SayingJudge("True", probability=1.5), "no answer: its probability is 1.5"),
        (SayingJudge("True", probability=float("nan")), "no answer: its probability is nan"),
    ],
)
def test_answers_that_make_no_sense(judge, reason):
    assert SingleEvent(judge)({"audio": [tone(0.1)]})["single_event_reason"] == [reason]


def test_what_is_no_judge():
    with pytest.raises(TypeError, match="must be an AudioJudge"):
        SingleEvent("Qwen")


def test_a_question_says_what_to_choose_from():
    question = choice_question(["Bark", "Meow"])
    assert "0: Bark\n1: Meow\n" in question.text and "-1" in question.text
    assert len(question.choices) == len(question.captions) == 3


@pytest.mark.parametrize("answers", [[], ["True"], [None]])
def test_judges_that_do_not_answer_everything(answers):
    class Rude(PeakJudge):
        def ask(self, clips, questions):
            return answers

    with pytest.raises(BackendError, match=r"peak gives \[.*\] for 1 clips"):
        SingleEvent(Rude())({"audio": [tone(1)]})
