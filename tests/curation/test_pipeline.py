import itertools
import pickle

import datasets
import numpy as np
import pytest

from hive_datasets import HiveError, RecordError
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
from tests.curation.models import HalvingRestorer, PeakJudge, RateTagger, SayingJudge, tone
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


@pytest.mark.parametrize("labels", [["Dog", "Cat"], [["Dog"], []]])
@pytest.mark.parametrize("name", ["text_label", "label"])
def test_labels_of_the_authors_in_a_dataset(corpora, labels, name):
    files = [str(path) for path in files_of(corpora)[:2]]
    ds = datasets.Dataset.from_dict({"audio": files, name: labels})
    kept, _, _ = CurationPipeline([Chunk(min_energy=0)]).with_reasons(ds)
    assert {tuple(row["labels"]) for row in kept} == {tuple([one] if isinstance(one, str) else one) for one in labels}


@pytest.mark.parametrize("column", ["tag_score", "original_path", "restored", "chunk_energy", "reason"])
def test_columns_of_the_users_are_not_overwritten(column):
    steps = [Chunk(min_energy=0), TagAudioSet(RateTagger()), SuperResolve(HalvingRestorer())]
    records = [{"audio": tone(1), "labels": [], column: "mine"}]
    if column == "chunk_energy":  # the only one of its step: as after an earlier one
        assert CurationPipeline(steps).process(records).records[0][column] > 0
        return
    with pytest.raises(RecordError, match=f"the columns {column} are named as those that curation adds: rename them"):
        CurationPipeline(steps).process(records)
    with pytest.raises(RecordError, match=column):
        CurationPipeline(steps).with_reasons(datasets.Dataset.from_dict({"audio": ["a.wav"], column: ["mine"]}))


def test_an_earlier_runs_columns_are_made_again():
    first = [Chunk(min_energy=0, copy=True), TagAudioSet(RateTagger())]
    (before,) = CurationPipeline(first).process([{"audio": tone(1), "labels": []}]).records
    step_by_step = {name: value for name, value in before.items() if name not in ("dropped_by", "reason", "detail")}
    del step_by_step["provenance"]
    again = [*first, SuperResolve(HalvingRestorer())]
    for record in (before, step_by_step):
        (after,) = CurationPipeline(again).process([record]).records
        assert (after["tag_score"], after["original_path"]) == (before["tag_score"], before["original_path"])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (SingleEvent(PeakJudge()), "SingleEvent: unreadable: gone.wav: there is no such file"),
        (SingleEvent(SayingJudge(None, "no answer: timeout")), "SingleEvent: no answer: timeout"),
        (TagAudioSet(RateTagger(np.nan)), "TagAudioSet: no tags: the model gives what is no number"),
        (SuperResolve(HalvingRestorer()), "SuperResolve: unreadable: gone.wav"),
    ],
)
def test_failures_may_end_it_before_anything_is_decided(step, message):
    records = [{"audio": tone(1), "labels": []}, {"audio": "gone.wav", "labels": []}]
    with pytest.raises(HiveError, match=message):
        CurationPipeline([step], on_error="raise").process(records)
    assert [record["dropped_by"] for record in CurationPipeline([step]).process(records).records] == ["", ""]


def test_new_audio_is_not_held_until_the_end():
    """Of what a long recording becomes, some is handed on before the rest is made."""
    made = []

    class Noting(HalvingRestorer):
        def restore(self, windows):
            made.append(len(windows))
            return windows

    pipeline = CurationPipeline([Chunk(1, 1, 0, 0), SuperResolve(Noting(8000, invents=False), below_hz=None)])
    rows = pipeline.iterate([{"audio": tone(400, sampling_rate=8000), "labels": []}], {})
    next(rows)
    assert len(made) == 64
    assert len(list(rows)) == 399


def test_reasons_of_two_steps_of_one_name():
    pipeline = CurationPipeline([SingleLabel(), Chunk(min_energy=0), SingleLabel("drop")])
    ds = datasets.Dataset.from_dict({"audio": ["a", "b"], "labels": [["x", "y"], ["x"]]})
    assert pipeline.with_reasons(ds).counts == {("SingleLabel (1)", "several labels"): 1, ("Chunk", "unreadable"): 1}


@pytest.mark.parametrize("step", [SingleEvent(PeakJudge()), TagAudioSet(RateTagger()), SuperResolve(HalvingRestorer())])
def test_versions_may_be_numbers(step, monkeypatch):
    for model in (PeakJudge, RateTagger, HalvingRestorer):
        monkeypatch.setattr(model, "version", 7)
    (record,) = CurationPipeline([step]).process([{"audio": tone(1), "labels": []}]).records
    assert record["provenance"]["steps"][0]["version"] == "7"
    assert [value for name, value in record.items() if name.endswith("_version")] == ["7"]
