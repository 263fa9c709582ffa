"""Numbers of a table, against the slow way, and intervals, against what they promise."""

import math
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets import Ontology
from hive_datasets.evaluation import Scores

ROWS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["Dog", "Cat", "Rain"]), st.none() | st.floats(-50, 50)),
    min_size=1,
    max_size=40,
)


def table_of(rows, **columns):
    mixtures, labels, values = zip(*rows, strict=True)
    facts = {"mix_id": mixtures, "split": ["test"] * len(rows), "label": labels}
    return pa.table({**facts, "sdr": pa.array(values, pa.float64()), **columns})


@given(ROWS)
def test_as_statistics_has_them(rows):
    scores = Scores(table_of(rows), num_resamples=2)
    known = [value for _, _, value in rows if value is not None]
    found = scores.aggregate("sdr")
    assert (found.asked, found.scored) == (len(rows), len(known))
    if not known:
        assert math.isnan(found.mean.value) and math.isnan(found.class_median.high)
        return
    by_label = {}
    for _, label, value in rows:
        if value is not None:
            by_label.setdefault(label, []).append(value)
    medians = [statistics.median(values) for values in by_label.values()]
    assert found.mean.value == pytest.approx(statistics.fmean(known), abs=1e-9)
    assert found.median.value == pytest.approx(statistics.median(known), abs=1e-9)
    assert found.class_median.value == pytest.approx(statistics.fmean(medians), abs=1e-9)
    groups = scores.aggregate_by("label", "sdr")
    assert list(groups) == sorted({label for _, label, _ in rows})
    for label, group in groups.items():
        assert group.asked == sum(other == label for _, other, _ in rows)
        assert group.scored == len(by_label.get(label, []))
        if group.scored:
            assert group.mean.value == pytest.approx(statistics.fmean(by_label[label]), abs=1e-9)
            assert group.median.value == pytest.approx(statistics.median(by_label[label]), abs=1e-9)


def test_intervals_are_of_mixtures_that_are_drawn():
    """The same draws, one by one, each making a table in which a mixture comes as often as it was drawn."""
    random = np.random.default_rng(0)
    rows = [(f"{number // 3:02d}", "DogCat"[3 * (number % 2) :][:3], float(random.normal())) for number in range(30)]
    found = Scores(table_of(rows), seed=5).aggregate("sdr")
    draws = np.random.default_rng(5)
    means, medians, of_classes = [], [], []
    for _ in range(1000):
        drawn = draws.integers(10, size=10)
        resampled = [row for mixture in drawn.tolist() for row in rows[3 * mixture : 3 * mixture + 3]]
        means.append(statistics.fmean(value for _, _, value in resampled))
        medians.append(statistics.median(value for _, _, value in resampled))
        classes = [[value for _, label, value in resampled if label == name] for name in ("Dog", "Cat")]
        of_classes.append(statistics.fmean(map(statistics.median, filter(None, classes))))
    for interval, values in ((found.mean, means), (found.median, medians), (found.class_median, of_classes)):
        assert (interval.low, interval.high) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-9)


def test_intervals_hold_what_they_promise():
    """Of 100 tables of 60 mixtures, whose targets go together, some 95 % have the true mean in their interval."""
    random, inside, naive = np.random.default_rng(0), 0, 0
    for _ in range(100):
        levels = random.normal(size=60)
        values = np.repeat(levels, 4) + 0.1 * random.normal(size=240)
        rows = [(f"{number // 4}", "Dog", value) for number, value in enumerate(values)]
        interval = Scores(table_of(rows), num_resamples=200).aggregate("sdr").mean
        inside += interval.low <= 0 <= interval.high
        naive += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(len(values))
    assert 90 <= inside <= 99
    assert naive < 80  # as if targets were independent


def test_few_mixtures_have_no_interval():
    rows = [(mixture, "Cat", float(number)) for number, mixture in enumerate("abcde")]
    scores = Scores(table_of([*rows, *(("a", "Dog", 1.0), ("b", "Dog", 2.0))]))
    groups = scores.aggregate_by("label", "sdr")
    assert groups["Dog"].mean.value == 1.5 and math.isnan(groups["Dog"].mean.low)
    assert groups["Dog"].to_dict()["mean"]["high"] is None
    assert 0.0 <= groups["Cat"].mean.low < 2.0 < groups["Cat"].mean.high <= 4.0
    alone = Scores(table_of(rows[:4])).aggregate("sdr")
    assert alone.mean.value == 1.5 and math.isnan(alone.mean.low) and math.isnan(alone.class_median.high)


def test_groups_of_every_kind():
    rows = [("a", "Purr", 1.0), ("a", "Hiss", 2.0), ("b", "Animal", 4.0), ("b", "Klaxon", None)]
    facts = {
        "corpus": ["AudioSet", "VGGSound", "AudioSet", ""],
        "num_sources": pa.array([2, 2, 3, 3], pa.int32()),
        "snr_db": [-0.1, 0.0, 7.0, None],
    }
    scores = Scores(table_of(rows, **facts))

    def counts(kind, **options):
        return {name: (each.scored, each.asked) for name, each in scores.aggregate_by(kind, "sdr", **options).items()}

    assert counts("corpus") == {"": (0, 1), "AudioSet": (2, 2), "VGGSound": (1, 1)}
    assert counts("num_sources") == {"2": (2, 2), "3": (1, 2)}
    assert counts("snr") == {"-5 to 0 dB": (1, 1), "0 to 5 dB": (1, 1), "5 to 10 dB": (1, 1)}
    hiss_is = set(Ontology.audioset().parents("Hiss"))
    first = counts("level 1")
    assert first["Animal"] == (3, 3) and first["Klaxon"] == (0, 1)  # Hiss is of several kinds, one of which is this
    assert set(first) > {"Animal", "Klaxon"} and hiss_is == {"Cat", "Snake", "Steam", "Onomatopoeia"}
    assert counts("level 1", ontology="hive")["Klaxon"] == (0, 1)
    with pytest.raises(ValueError, match="not 'level 0'"):
        counts("level 0")
    with pytest.raises(KeyError, match=r"there is no 'si_sdr', but sdr, snr_db"):
        scores.aggregate("si_sdr")
