"""Whether one run is better than another, and whether that may be said."""

import numpy as np
import pyarrow as pa
import pytest

from hive_datasets import EvaluationError, Subset, compare_evaluations, evaluate_separator
from hive_datasets.evaluation import Evaluation
from hive_datasets.evaluation.comparison import find_p_value
from hive_datasets.evaluation.results import make_schema
from hive_datasets.evaluation.summary import summarize


def run_of(folder, values, name="it", column="sdr", data_hash="x", first=0):
    """An evaluation with these values, two targets a mixture."""
    rows = [
        {
            "mix_id": f"{number // 2}",
            "split": "test",
            "label": f"label {number % 2}",
            "query": "",
            "source_ids": ["s1"],
            "corpus": "",
            "num_sources": 2,
            "start_second": 0.0,
            "snr_db": 0.0,
            column: value,
            "seconds": 0.1,
            "error": None if value is not None else "it failed",
        }
        for number, value in enumerate(values, first)
    ]
    table = pa.Table.from_pylist(rows, make_schema([column]))
    about = {"separator": name, "version": "", "data_hash": data_hash, "options": {}}
    return Evaluation(folder, table, summarize(table, [column], about))


def test_the_sign_test_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for better, worse in [(0, 1), (3, 3), (9, 1), (40, 20), (510, 490), (700, 300), (0, 2000)]:
        wanted = stats.binomtest(better, better + worse).pvalue
        assert find_p_value(better, worse) == pytest.approx(wanted, rel=1e-9)
        assert find_p_value(worse, better) == find_p_value(better, worse)
    assert find_p_value(35500, 34500) == pytest.approx(stats.binomtest(35500, 70000).pvalue, rel=1e-6)


def test_better_is_a_statement(tmp_path):
    random = np.random.default_rng(0)
    before = random.normal(size=100)
    a = run_of(tmp_path, before.tolist())
    cases = {
        "better": before + 0.3 + 0.5 * random.normal(size=100),
        "worse": before - 0.3 + 0.5 * random.normal(size=100),
        "undecided": before + 0.5 * random.normal(size=100),
    }
    for verdict, values in cases.items():
        found = compare_evaluations(a, run_of(tmp_path, values.tolist())).differences["sdr"]
        assert found.verdict == verdict
        assert found.difference.value == pytest.approx((values - before).mean())
        assert found.b - found.a == pytest.approx(found.difference.value)
        by_mixture = (values - before).reshape(50, 2).mean(axis=1)
        assert (found.better, found.worse, found.equal) == ((by_mixture > 0).sum(), (by_mixture < 0).sum(), 0)
    lucky = before.copy()
    lucky[:4] += 50  # two mixtures of 50: the mean alone would be moved
    assert compare_evaluations(a, run_of(tmp_path, lucky.tolist())).differences["sdr"].verdict == "undecided"


def test_less_leakage_is_better(tmp_path):
    a, b = (run_of(tmp_path, [level] * 40, column="leakage") for level in (-10.0, -20.0))
    assert compare_evaluations(a, b).differences["leakage"].verdict == "better"
    assert compare_evaluations(b, a).differences["leakage"].verdict == "worse"
    nearly = run_of(tmp_path, [-10.0009] * 40, column="leakage")  # as another dtype rounds
    same = compare_evaluations(a, nearly).differences["leakage"]
    assert (same.verdict, same.equal, same.p_value) == ("undecided", 20, 1.0)


def test_only_what_both_have_scored(tmp_path):
    a = run_of(tmp_path, [1.0, None, 3.0, 4.0])
    b = run_of(tmp_path, [2.0, 5.0, None, 7.0, 8.0, 9.0], data_hash="y")
    found = compare_evaluations(a, b)
    assert found.table.select(["mix_id", "label", "sdr"]).to_pylist() == [
        {"mix_id": "0", "label": "label 0", "sdr": 1.0},
        {"mix_id": "1", "label": "label 1", "sdr": 3.0},
    ]
    assert (found.only_a, found.only_b, found.differing) == (1, 3, ("data",))
    told = found.to_dict()
    assert told["compared"] == 2 and told["by"]["num_sources"]["sdr"]["2"]["mean"]["value"] == 2.0
    assert found.by("label", "sdr")["label 1"].mean.value == 3.0


def test_what_cannot_be_compared(tmp_path):
    a = run_of(tmp_path, [1.0])
    with pytest.raises(EvaluationError, match="no target in common"):
        compare_evaluations(a, run_of(tmp_path, [1.0], first=5))
    with pytest.raises(EvaluationError, match="no metric in common"):
        compare_evaluations(a, run_of(tmp_path, [1.0], column="si_sdr"))
    with pytest.raises(EvaluationError, match="the evaluation there is none: evaluate into it first"):
        compare_evaluations(a, tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(EvaluationError, match="of something else than an evaluation"):
        compare_evaluations(tmp_path, a)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(EvaluationError, match="cannot be read"):
        compare_evaluations(tmp_path, a)


def test_of_real_runs(demo, tmp_path):
    options = {"dataset_paths": demo / "sources", "sampling_rate": 8000, "metrics": ["sdr", "leakage"]}
    subset = Subset(demo / "metadata", limit=12)
    for name in ("mixture", "ideal-binary-mask"):
        evaluate_separator(name, subset, tmp_path / name, **options)
    found = compare_evaluations(tmp_path / "mixture", tmp_path / "ideal-binary-mask")
    other = evaluate_separator("mixture", subset, tmp_path / "other", **{**options, "sampling_rate": 16000})
    assert compare_evaluations(tmp_path / "mixture", other).differing == ("sampling_rate",)
    assert found.is_same_data and found.differences["sdr"].verdict == found.differences["leakage"].verdict == "better"
    assert found.differences["sdr"].better == 12
