import itertools
import pickle

import datasets
import pytest

from hive_datasets import HiveError
from hive_datasets.curation import (
    Chunk,
    CurationPipeline,
    LeafLabel,
    MinScore,
    SingleEvent,
    SingleLabel,
    SuperResolve,
    TagAudioSet,
    make_pipeline,
)
from tests.curation.models import HalvingRestorer, PeakJudge, RateTagger
from tests.curation.test_clips import files_of

STEPS = [
    Chunk(),
    SingleLabel(),
    SingleEvent(PeakJudge(0.3)),
    MinScore("single_event", 0.5),
    TagAudioSet(RateTagger()),
    LeafLabel(PeakJudge(0.2)),
    MinScore("leaf_label"),
    SuperResolve(HalvingRestorer()),
]


@pytest.fixture
def records(corpora):
    labels = [["Dog"], ["Dog", "Cat"], []]
    files = files_of(corpora)[:40]
    return [{"audio": str(path), "labels": labels[n % 3], "mine": n} for n, path in enumerate(files)] + [
        {"audio": "gone.wav", "labels": ["Pig"], "mine": 40}
    ]


def by_hand(records):
    """The same steps, each over all records, as a list a step."""
    alive = [({**record}, None) for record in records]
    for step in STEPS:
        following = []
        for record, why in alive:
            if why is not None:
                following.append((record, why))
            else:
                following += [
                    (result.record, result.reason and (step.name, *result.reason)) for result in step.process([record])
                ]
        alive = following
    return alive


def test_it_is_the_steps_one_after_the_other(records):
    found = CurationPipeline(STEPS).process(records).records
    expected = by_hand(records)
    assert [record["mine"] for record in found] == [record["mine"] for record, _ in expected]
    for record, (other, why) in zip(found, expected, strict=True):
        assert (record["dropped_by"], record["reason"], record["detail"]) == (why or ("", "", ""))
        for name in other.keys() - {"audio"}:
            assert record[name] == other[name]
    reasons = {(record["dropped_by"], record["reason"]) for record in found}
    assert len(reasons) >= 5  # or the records would not show much


def test_counts(records):
    processed = CurationPipeline(STEPS).process(records)
    counts = processed.counts
    assert list(counts) == [step.name for step in STEPS]
    assert counts["Chunk"].taken == len(records)
    for before, after in itertools.pairwise(STEPS):
        assert counts[after.name].taken == counts[before.name].kept
        assert counts[after.name].kept == counts[after.name].taken - sum(counts[after.name].dropped.values())
    kept = [record for record in processed.records if not record["dropped_by"]]
    assert counts[STEPS[-1].name].kept == len(kept) > 0
    for step in STEPS:
        dropped = [record["reason"] for record in processed.records if record["dropped_by"] == step.name]
        assert {reason: dropped.count(reason) for reason in set(dropped)} == counts[step.name].dropped


def test_provenance(records):
    for record in CurationPipeline(STEPS).process(records).records:
        told = record["provenance"]
        steps = told["steps"]
        if record["dropped_by"]:
            assert steps[-1]["step"] == record["dropped_by"]
        else:
            assert [step["step"] for step in steps] == [step.name for step in STEPS]
            assert told["file"] == records[record["mine"]]["audio"] == record["original_path"]
            assert 0 <= told["start_second"] < told["end_second"] <= told["start_second"] + 10
            assert record["chunk_start_second"] == 0
        assert steps[0]["labels_before"] == records[record["mine"]]["labels"]
        assert steps[-1]["labels_after"] == record["labels"]
        assert [step["labels_before"] for step in steps[1:]] == [step["labels_after"] for step in steps[:-1]]
        models = {step["step"]: (step["model"], step["version"]) for step in steps}
        assert models.get("TagAudioSet", ("rate", "3")) == ("rate", "3")
        assert models["Chunk"] == ("", "")


@pytest.mark.parametrize("num_proc", [None, 2])
def test_with_reasons(records, num_proc):
    pipeline = CurationPipeline(STEPS)
    processed = pipeline.process(records)
    kept, rejects, counts = pipeline.with_reasons(datasets.Dataset.from_list(records), num_proc=num_proc, batch_size=7)
    dropped = [record for record in processed.records if record["dropped_by"]]
    assert kept["mine"][:] == [record["mine"] for record in processed.records if not record["dropped_by"]]
    assert rejects["detail"][:] == [record["detail"] for record in dropped]
    reasons = [(record["dropped_by"], record["reason"]) for record in dropped]
    assert counts == {reason: reasons.count(reason) for reason in set(reasons)}


def test_a_stream(records):
    pipeline = CurationPipeline(STEPS)
    processed = pipeline.process(records).records
    stream = datasets.Dataset.from_list(records).to_iterable_dataset()
    kept, rejects, counts = pipeline.with_reasons(stream, batch_size=7)
    assert [row["mine"] for row in kept] == [record["mine"] for record in processed if not record["dropped_by"]]
    assert [row["reason"] for row in rejects] == [record["reason"] for record in processed if record["dropped_by"]]
    assert counts is None


def test_errors_may_end_it(records):
    with pytest.raises(HiveError, match=r"Chunk: unreadable: gone.wav: there is no such file"):
        CurationPipeline(STEPS, on_error="raise").process(records)
    assert CurationPipeline(STEPS, on_error="raise").process(records[:3]).records


def test_the_same_step_twice():
    counts = CurationPipeline([SingleLabel(), SingleLabel("drop")]).process([{"audio": "a", "labels": []}]).counts
    assert {name: count.kept for name, count in counts.items()} == {"SingleLabel (1)": 1, "SingleLabel (2)": 0}


def test_config_and_pickle():
    pipeline = CurationPipeline(STEPS)
    assert make_pipeline(pipeline.config()) == pipeline == pickle.loads(pickle.dumps(pipeline))
    assert pipeline.config()[2] == {
        "SingleEvent": {"judge": {"tests.curation.models:PeakJudge": {"above": 0.3, "told": True}}}
    }


def test_what_is_no_pipeline():
    for steps, error in (([], ValueError), (["Chunk"], TypeError), ([Chunk], TypeError)):
        with pytest.raises(error):
            CurationPipeline(steps)
    with pytest.raises(ValueError, match="on_error"):
        CurationPipeline([Chunk()], on_error="skip")
