import json
import math

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hive_datasets
from hive_datasets import Ontology, RecordError, parse_recipe
from hive_datasets.backends import Answer
from hive_datasets.curation import CurateMixtures, best_mixtures
from tests.curation.models import SayingJudge


class Expert:
    """Knows the stems, and what they are; is sure of some, and picks the last label for the others."""

    model = "expert"
    version = "1"

    def __init__(self, stems, wrong=()):
        self.stems, self.wrong, self.asked = stems, set(wrong), []

    def ask(self, clips, questions):
        answers = []
        for clip, question in zip(clips, questions, strict=True):
            label = next(name for name, stem in self.stems if np.array_equal(stem, clip.samples))
            listed = [line.partition(": ")[2] for line in question.text.splitlines() if line[:1].isdigit()]
            self.asked.append((label, listed))
            answers.append(Answer("-1" if label in self.wrong else str(listed.index(label))))
        return answers


@pytest.fixture(scope="module")
def rows(shared, corpora):
    return hive_datasets.load_dataset(
        "hive", data_dir=str(shared / "mini" / "hub"), dataset_paths=str(corpora), split="train", streaming=True
    )


@pytest.fixture(scope="module")
def stems(rows):
    return [pair for row in rows for pair in zip(row["labels"], row["mixture"]["sources"], strict=True)]


def test_the_score_is_the_share_of_sources_that_are_told_from_their_siblings(rows, stems):
    hive = Ontology.hive()
    wrong = sorted({label for label, _ in stems})[::2]  # of which some are not in the ontology: see below
    judge = Expert(stems, wrong)
    scored = [row for row in rows.map(CurateMixtures(judge), batched=True, batch_size=3) if not row["confusion_reason"]]
    assert len(scored) > 4
    for row in scored:
        alone = [not hive.siblings(label) for label in row["labels"]]
        right = [single or label not in wrong for label, single in zip(row["labels"], alone, strict=True)]
        assert row["confusion_score"] == pytest.approx(np.mean(right))
        expected = [label if sure else "" for label, sure in zip(row["labels"], right, strict=True)]
        assert row["confusion_picked"] == expected
    for label, listed in judge.asked:
        assert sorted(listed) == sorted([label, *hive.siblings(label)])


def test_undecoded_rows_are_rendered(rows, stems, corpora, monkeypatch):
    monkeypatch.setenv("HIVE_DATASET_PATHS", str(corpora))
    expected = [row["confusion_score"] for row in rows.map(CurateMixtures(Expert(stems)), batched=True)]
    undecoded = rows.decode(False).map(CurateMixtures(Expert(stems)), batched=True)
    np.testing.assert_array_equal([row["confusion_score"] for row in undecoded], expected)
    assert expected.count(1.0) > 4


def recipe_of(row, labels):
    for source, label in zip(row["sources"], labels, strict=False):
        source["label"] = label
    return json.dumps(parse_recipe(row).to_dict())


def decoded(recipe):
    count = len(json.loads(recipe)["sources"])
    return {"mix": np.zeros(10), "sources": np.zeros((count, 10)), "sampling_rate": 44100, "recipe": recipe}


def test_without_siblings_nobody_is_asked(row):
    count = len(row["sources"])
    roots = [name for name in Ontology.hive().roots() if Ontology.hive().leaves(name)][:count]
    batch = {"mixture": [decoded(recipe_of(row, roots))]}
    assert CurateMixtures(SayingJudge("never"))(batch)["confusion_score"] == [1.0]


def test_what_cannot_be_scored_has_a_reason(row):
    good = decoded(recipe_of(row, ["Pig"] * 5))
    unknown = decoded(recipe_of(json.loads(json.dumps(row)), ["Unheard-of"]))
    batch = CurateMixtures(SayingJudge(None, "no answer: timeout"))({"mixture": [good, unknown, None]})
    assert np.isnan(batch["confusion_score"]).all()
    assert batch["confusion_reason"] == [
        "no answer: timeout",
        "label not in the ontology: Unheard-of",
        "unreadable: its sources could not be read",
    ]
    with pytest.raises(RecordError, match="no column mixture"):
        CurateMixtures(SayingJudge("0"))({"audio": ["a.wav"]})
    with pytest.raises(RecordError, match=r"mixture is 'a.wav', not what load_dataset\('hive'\) has there"):
        CurateMixtures(SayingJudge("0"))({"mixture": ["a.wav"]})


@given(
    st.lists(st.tuples(st.sampled_from([None, 0.0, 0.5, 1.0]), st.integers(2, 4)), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_the_best_of_each_group(scored, fraction):
    rows = [
        {"mix_id": f"m{number:02d}", "num_sources": count, "confusion_score": score}
        for number, (score, count) in enumerate(scored)
    ]
    features = datasets.Features(
        {
            "mix_id": datasets.Value("string"),
            "num_sources": datasets.Value("int32"),
            "confusion_score": datasets.Value("float64"),
        }
    )
    kept = best_mixtures(datasets.Dataset.from_list(rows, features=features), fraction)
    expected = []
    for count in (2, 3, 4):
        group = [row for row in rows if row["num_sources"] == count and row["confusion_score"] is not None]
        expected += sorted(group, key=lambda row: (-row["confusion_score"], row["mix_id"]))[
            : math.ceil(fraction * len(group))
        ]
    assert kept["mix_id"][:] == sorted(row["mix_id"] for row in expected)


def test_what_has_no_scores():
    with pytest.raises(RecordError, match="no column confusion_score, num_sources, only mix_id"):
        best_mixtures(datasets.Dataset.from_dict({"mix_id": ["a"]}))
    with pytest.raises(ValueError, match="from 0 to 1"):
        best_mixtures(datasets.Dataset.from_dict({"mix_id": ["a"]}), 2)


def test_what_the_best_cannot_be_chosen_of():
    scores = {"mix_id": ["a", "b", "c"], "labels": [["x"], ["x"], ["y"]], "confusion_score": [0.5, 1.0, 0.0]}
    ds = datasets.Dataset.from_dict(scores)
    assert best_mixtures(ds, by="labels")["mix_id"][:] == ["b", "c"]
    with pytest.raises(RecordError, match="chosen of a Dataset, not of IterableDataset"):
        best_mixtures(ds.to_iterable_dataset())
