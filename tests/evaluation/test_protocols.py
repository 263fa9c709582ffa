"""Protocols of papers run, and say what is known of them."""

import pytest

from hive_datasets import Subset, evaluate_separator
from hive_datasets.evaluation import METRICS, PROTOCOLS
from hive_datasets.evaluation.report import AGGREGATIONS, format_evaluation


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_says_what_is_known_and_what_is_not(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name and len(protocol.known) > 60 and len(protocol.unknown) > 60
    assert set(protocol.metrics) <= set(METRICS)
    for column, aggregation in protocol.headlines.items():
        assert column.removesuffix("_improvement") in protocol.metrics and aggregation in AGGREGATIONS


def test_uss(demo, tmp_path):
    """Segments of 2 s at 32 kHz; the median within a class, then the mean over classes."""
    subset = Subset(demo / "metadata", splits=["test"], limit=2)
    found = evaluate_separator("silence", subset, tmp_path, protocol="uss", dataset_paths=demo / "sources")
    rows = found.table.to_pylist()
    assert found.summary["options"]["sampling_rate"] == 32000
    assert [row["start_second"] for row in rows[:4]] == [0.0, 0.0, 2.0, 2.0]
    medians = {}
    for row in rows:
        if row["sdr_improvement"] is not None:
            medians.setdefault(row["label"], []).append(row["sdr_improvement"])
    import statistics

    wanted = statistics.fmean(map(statistics.median, medians.values()))
    assert found.summary["metrics"]["sdr_improvement"]["class_median"]["value"] == pytest.approx(wanted)
    text = format_evaluation(found.summary)
    assert f"sdr_improvement, mean of labels' medians: {wanted:.2f} dB" in text
    assert "not known: Which pairs of segments the paper mixed" in text


def test_what_is_said_goes_before_what_a_protocol_has(demo):
    chosen = PROTOCOLS["2mix"].choose(demo / "metadata")
    assert {recipe.num_sources for recipe in chosen.recipes()} == {2}
    assert PROTOCOLS["hive-test"].choose(Subset(splits=["train"])).splits == ["train"]
    assert PROTOCOLS["hive-test"].choose([1]) == [1]
