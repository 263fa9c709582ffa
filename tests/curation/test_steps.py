import pickle

import datasets
import pytest

from hive_datasets import RecordError
from hive_datasets.curation import (
    Chunk,
    CurationPipeline,
    LeafLabel,
    MinScore,
    SingleEvent,
    SingleLabel,
    SuperResolve,
    TagAudioSet,
)
from hive_datasets.curation.steps import batch_of, labels_of, reason_of, records_of
from tests.curation.models import HalvingRestorer, PeakJudge, RateTagger, tone

STEPS = [
    Chunk(min_energy=0.1),
    SingleLabel("drop"),
    SingleEvent(PeakJudge(0.3)),
    MinScore("single_event", 0.5),
    TagAudioSet(RateTagger(), top_k=3),
    LeafLabel(PeakJudge()),
    SuperResolve(HalvingRestorer()),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_steps_are_pickled_as_they_are(step):
    assert pickle.loads(pickle.dumps(step)) == step
    assert step.name in repr(step) or isinstance(step, MinScore)


def test_scoring_drops_nothing_and_deciding_is_a_filter():
    """A threshold is tried again without asking the model again."""
    ds = datasets.Dataset.from_dict(
        {"audio": [f"{n}.wav" for n in range(3)], "labels": [["Dog"]] * 3, "mine": [1, 2, 3]}
    )
    ds = ds.map(lambda row: {"audio": {"array": tone(0.1, row["mine"] / 4)["array"], "sampling_rate": 16000}})
    scored = ds.map(SingleEvent(PeakJudge(0)), batched=True)
    assert scored["mine"][:] == [1, 2, 3]
    assert scored["single_event_score"][:] == pytest.approx([0.25, 0.5, 0.75], abs=0.01)
    kept = [len(scored.filter(MinScore("single_event", at_least), batched=True)) for at_least in (0, 0.3, 0.6, 0.9)]
    assert kept == [3, 2, 1, 0]


def test_columns_whose_first_batch_has_no_score():
    """`datasets` takes the types of the first batch for all."""
    audio = [{"array": None, "sampling_rate": 0}] * 2 + [{"array": [0.9] * 1000, "sampling_rate": 16000}] * 2
    ds = datasets.Dataset.from_dict({"audio": audio, "labels": [["Dog"]] * 4})
    scored = ds.map(SingleEvent(PeakJudge()), batched=True, batch_size=2, writer_batch_size=2)
    assert [score == score for score in scored["single_event_score"]] == [False, False, True, True]
    assert scored["single_event_reason"][0].startswith("unreadable: ")
    assert len(scored.filter(MinScore("single_event"), batched=True)) == 2


def test_a_stream_in_processes(corpora):
    files = [str(path) for path in sorted(corpora.rglob("*.wav"))[:6]]
    ds = datasets.Dataset.from_dict({"audio": files, "labels": [["Dog"]] * 6})
    expected = [row["single_event_score"] for row in ds.map(SingleEvent(PeakJudge()), batched=True)]
    stream = ds.to_iterable_dataset(num_shards=2).map(SingleEvent(PeakJudge()), batched=True, batch_size=2)
    assert [row["single_event_score"] for row in stream] == expected
    assert [r["single_event_score"] for r in ds.map(SingleEvent(PeakJudge()), batched=True, num_proc=2)] == expected


def test_min_score():
    keep = MinScore("tag", 0.5)
    rows = [
        {"tag_score": s, "tag_reason": why}
        for s, why in ((0.5, ""), (0.49, ""), (None, "unreadable: a: b"), (None, ""))
    ]
    assert keep.reasons(rows) == [
        None,
        ("score below 0.5", "0.49"),
        ("unreadable", "a: b"),
        ("no score", ""),
    ]
    assert MinScore("leaf_label")({"leaf_label_reason": ["", "none of the leaves: below Animal"]}) == [True, False]
    with pytest.raises(RecordError, match="no column tag_score, only labels: run the step"):
        keep({"labels": [["Dog"]]})


def test_rows_and_columns():
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert records_of(batch_of(rows)) == rows
    assert reason_of("several labels") == ("several labels", "")


def test_without_batched():
    for row in ({"audio": "a.wav", "labels": ["Dog"]}, {"audio": {"path": "a.wav"}, "number": 3}):
        with pytest.raises(RecordError, match="batched=True"):
            SingleLabel()(row)


@pytest.mark.parametrize("value", [3, [3], {"a": 1}, [["Dog"]]])
def test_labels_that_are_none(value):
    with pytest.raises(RecordError, match="must be a text, or a list of such"):
        labels_of({"labels": value})


def test_any_number_may_be_decided_by():
    batch = {"audio": ["a.wav"] * 3, "chunk_energy": [0.1, 0.01, None]}
    assert MinScore("chunk_energy", 0.05)(batch) == [True, False, False]
    with pytest.raises(RecordError, match="no column chunk_energy_reason"):
        MinScore("chunk_energy")(batch)


def test_clips_are_read_a_few_at_a_time():
    given = []

    class Counting(PeakJudge):
        def ask(self, clips, questions):
            given.append(len(clips))
            return super().ask(clips, questions)

    scored = SingleEvent(Counting())({"audio": [tone(0.1)] * 150})
    assert (given, len(scored["single_event_score"])) == ([64, 64, 22], 150)


@pytest.mark.parametrize("make", [lambda: SingleEvent(PeakJudge), lambda: TagAudioSet(RateTagger)])
def test_a_class_is_no_model(make):
    with pytest.raises(TypeError, match="must be an Audio"):
        make()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "step",
    [Chunk(), SingleEvent(PeakJudge(0)), CurationPipeline([SingleLabel("drop")])],
    ids=lambda step: type(step).__name__,
)
def test_a_step_is_not_for_filter(step, streaming):
    """It would keep as many rows as there are columns, in silence."""
    ds = datasets.Dataset.from_dict({"audio": [tone(0.1, 0.5)] * 3, "labels": [["Dog"]] * 3})
    ds = ds.to_iterable_dataset() if streaming else ds
    with pytest.raises(RecordError, match="tells of no row whether to keep it: it is for map, not for filter"):
        list(ds.filter(step, batched=True))
    with pytest.raises(RecordError, match="call map and filter with batched=True"):
        list(ds.map(step))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_filter_is_not_for_map(streaming):
    ds = datasets.Dataset.from_dict({"single_event_score": [0.9, 0.1], "single_event_reason": ["", ""]})
    ds = ds.to_iterable_dataset() if streaming else ds
    with pytest.raises(TypeError):
        list(ds.map(MinScore("single_event", 0.5), batched=True))
