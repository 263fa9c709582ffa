"""Evaluations: every target is there, its numbers are right, and nothing that goes wrong is lost."""

import importlib
import itertools
import json
import linecache
import re
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import hive_datasets
from hive_datasets import EvaluationError, Mixer, OutputError, SelectTarget, SourceNotFoundError, Subset
from hive_datasets.evaluation import Evaluation, evaluate_separator, sdr, si_sdr

RATE = 8000


@pytest.fixture(scope="module")
def options(demo):
    return {"dataset_paths": demo / "sources", "sampling_rate": RATE}


@pytest.fixture(scope="module")
def few(demo):
    """7 mixtures, 24 targets: 2, 3, 4, 5, 2, 3, 4 sources, and the last of another split's mix_ids."""
    return Subset(demo / "metadata", limit=7)


def low_pass(mixtures, sampling_rate, queries):
    """Something that differs from the mixture, by query."""
    kernels = [np.ones(2 + len(query) % 5) / (2 + len(query) % 5) for query in queries]
    pairs = zip(mixtures, kernels, strict=True)
    return np.stack([np.convolve(mixture, kernel, "same") for mixture, kernel in pairs]).astype(np.float32)


def without_times(table):
    return table.drop_columns(["seconds"])


def test_every_number_as_a_slow_loop_has_it(mini, corpora, tmp_path):
    """On real audio."""
    recipes = mini[:6]
    found = evaluate_separator(low_pass, recipes, tmp_path, dataset_paths=corpora, sampling_rate=16000)
    rows = iter(found.table.to_pylist())
    for recipe in recipes:
        rendered = Mixer(corpora, 16000)(recipe)
        for label in dict.fromkeys(recipe.labels):
            row = next(rows)
            numbers = [number for number, other in enumerate(recipe.labels) if other == label]
            target = rendered["sources"][numbers].sum(axis=0)
            estimate = low_pass(rendered["mix"][None], 16000, [label])[0]
            assert (row["mix_id"], row["split"], row["label"]) == (recipe.mix_id, recipe.split, label)
            assert row["sdr"] == pytest.approx(sdr(estimate, target), abs=1e-4)
            assert row["si_sdr"] == pytest.approx(si_sdr(estimate, target), abs=1e-4)
            assert row["sdr_improvement"] == pytest.approx(row["sdr"] - sdr(rendered["mix"], target), abs=1e-4)
            rest = rendered["mix"] - target
            assert row["snr_db"] == pytest.approx(10 * np.log10((target**2).sum() / (rest**2).sum()), abs=1e-3)
            assert row["error"] is None and row["seconds"] > 0
    assert list(rows) == []


def test_batches_and_threads_change_nothing(few, options, tmp_path):
    batches = []

    def separate(mixtures, sampling_rate, queries):
        batches.append(len(mixtures))
        assert mixtures.dtype == np.float32 and mixtures.shape == (len(queries), 4 * RATE) and sampling_rate == RATE
        return low_pass(mixtures, sampling_rate, queries)

    many = evaluate_separator(separate, few, tmp_path / "a", **options)
    assert batches == [5, 4, 7, 7]  # 2 + 3, 4, 5 + 2, 3 + 4: at most 8, and mixtures whole
    one = {"batch_size": 1, "num_threads": 1, "num_workers": 1}
    alone = evaluate_separator(separate, few, tmp_path / "b", **one, **options)
    assert without_times(alone.table).equals(without_times(many.table))
    assert set(batches[4:]) == {1} and len(batches[4:]) == len(many.table) == 23


def test_what_lies_in_the_folder(few, options, tmp_path):
    found = evaluate_separator("mixture", few, tmp_path, **options)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == [
        "index.html",
        "run.json",
        "summary.json",
        "targets.parquet",
    ]
    assert pq.read_table(tmp_path / "targets.parquet").equals(found.table)
    assert json.loads((tmp_path / "summary.json").read_text()) == found.summary
    again = Evaluation.load(tmp_path)
    assert again.table.equals(found.table) and again.summary == found.summary
    summary = found.summary
    assert (summary["asked"], summary["scored"], summary["failed"], summary["mixtures"]) == (23, 23, 0, 7)
    assert summary["sdr_improvement"] == 0.0 and summary["leakage"] == pytest.approx(0.0, abs=1e-9)
    assert summary["sdr"] == pytest.approx(np.mean(found.table.column("sdr").to_pylist()))
    assert summary["versions"]["hive-datasets"] == hive_datasets.__version__
    for name in ("data_hash", "scored_hash"):
        assert re.fullmatch("[0-9a-f]{16,32}", summary[name])


def test_silence_and_what_it_is_told(demo_recipes, options, tmp_path):
    select = SelectTarget("all", absent=0.3)
    found = evaluate_separator("silence", demo_recipes[:8], tmp_path, select=select, **options)
    rows = found.table.to_pylist()
    absent = [row for row in rows if not row["source_ids"]]
    assert found.summary["silent"] == len(absent) > 3
    for row in rows:
        wanted = (None, None) if row in absent else (0.0, -100.0)
        assert (row["sdr"], row["si_sdr"]) == wanted
        assert row["leakage"] in (None, -100.0)
    assert all(row["leakage"] == -100.0 and row["snr_db"] is None for row in absent)
    of_sdr = found.summary["metrics"]["sdr"]
    assert (of_sdr["asked"], of_sdr["scored"]) == (len(rows), len(rows) - len(absent))
    assert found.summary["scored"] == len(rows)


def test_one_that_fails_takes_no_other_with_it(few, options, tmp_path):
    def separate(mixtures, sampling_rate, queries):
        if "Clock" in queries:
            raise RuntimeError("no clocks")
        estimates = mixtures.copy()
        estimates[[query == "Engine" for query in queries], 5] = np.nan
        return estimates

    with pytest.warns(UserWarning, match="is recorded as failed, and so will others be"):
        found = evaluate_separator(separate, few, tmp_path / "out", **options)
    errors = {row["label"]: row["error"] for row in found.table.to_pylist() if row["error"]}
    where = re.search(r" \(test_evaluate\.py, line \d+\)$", errors["Clock"])[0]
    assert errors["Clock"] == f"RuntimeError: no clocks{where}"
    assert errors["Engine"] == "1 of 32,000 samples are NaN or infinite"
    failed = [row for row in found.table.to_pylist() if row["error"]]
    assert all(row["sdr"] is None and row["snr_db"] is not None for row in failed)
    summary = found.summary
    assert (summary["asked"], summary["failed"], summary["scored"]) == (23, len(failed), 23 - len(failed))
    assert summary["errors"] == {reason: sum(row["error"] == reason for row in failed) for reason in errors.values()}
    assert summary["metrics"]["sdr"]["scored"] == summary["scored"]
    with pytest.raises(EvaluationError, match="mixture sample_00000000, 'Engine': 1 of 32,000 samples") as caught:
        evaluate_separator(separate, few, tmp_path / "other", batch_size=1, on_error="raise", **options)
    assert (caught.value.mix_id, caught.value.label) == ("sample_00000000", "Engine")


def test_audio_that_cannot_be_read(mini, copy, tmp_path):
    recipes = mini[:8]
    gone = recipes[2].sources[0].path
    (copy / gone).unlink()
    lost = [recipe.mix_id for recipe in recipes if gone in [source.path for source in recipe.sources]]
    options = {"dataset_paths": copy, "sampling_rate": RATE, "metrics": ["sdr"]}
    found = evaluate_separator("mixture", recipes, tmp_path / "out", **options)
    rows = found.table.to_pylist()
    assert [row["mix_id"] for row in rows if row["error"]] == [row["mix_id"] for row in rows if row["mix_id"] in lost]
    assert all(gone in row["error"] for row in rows if row["error"])
    assert found.summary["asked"] == sum(len(set(recipe.labels)) for recipe in recipes)
    with pytest.raises(SourceNotFoundError):
        evaluate_separator("mixture", recipes, tmp_path / "other", on_error="raise", **options)


def test_an_interruption_loses_nothing(few, options, tmp_path):
    calls = itertools.count(1)
    seen = []

    def separate(mixtures, sampling_rate, queries):
        if next(calls) == 4:
            raise KeyboardInterrupt
        seen.extend(queries)
        return low_pass(mixtures, sampling_rate, queries)

    with pytest.raises(KeyboardInterrupt):
        evaluate_separator(separate, few, tmp_path / "out", name="it", **options)
    with pytest.raises(EvaluationError, match="is not finished: run it again to go on"):
        Evaluation.load(tmp_path / "out")
    before = len(seen)
    found = evaluate_separator(separate, few, tmp_path / "out", name="it", **options)
    assert found.num_before == before == 16  # what was asked before is there,
    assert len(seen) == 23  # and none is asked for twice
    at_once = evaluate_separator(low_pass, few, tmp_path / "at once", **options)
    assert without_times(found.table).equals(without_times(at_once.table))
    calls = iter([4])
    with pytest.warns(UserWarning, match="all of it was there, of an earlier run of it"):
        again = evaluate_separator(separate, few, tmp_path / "out", name="it", **options)  # nothing is left to ask
    assert again.num_before == 23 and again.table.equals(found.table)
    assert not (tmp_path / "out" / "parts").exists()


def test_a_part_that_is_gone_is_made_again(few, options, tmp_path):
    calls = itertools.count(1)

    def separate(mixtures, sampling_rate, queries):
        if next(calls) in (2, 4):
            raise KeyboardInterrupt
        return low_pass(mixtures, sampling_rate, queries)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evaluate_separator(separate, few, tmp_path / "out", name="it", **options)
    first, _ = sorted((tmp_path / "out" / "parts").iterdir())
    first.unlink()
    found = evaluate_separator(separate, few, tmp_path / "out", name="it", **options)
    at_once = evaluate_separator(low_pass, few, tmp_path / "at once", **options)
    assert found.num_before in (4, 5) and without_times(found.table).equals(without_times(at_once.table))


def test_another_evaluation_is_not_mixed_with_it(few, demo, options, tmp_path):
    evaluate_separator("mixture", few, tmp_path, metrics=["sdr"], **options)
    for change, problem in (
        ({"separate": "silence"}, 'separator "mixture"; now separator "silence"'),
        ({"metrics": ["si_sdr"]}, "columns"),
        ({"dataset": Subset(demo / "metadata", limit=3)}, "data_hash"),
        ({"sampling_rate": 16000}, "there sampling_rate 8000; now sampling_rate 16000"),
        ({"select": SelectTarget("all", absent=0.1)}, 'there data_hash .*; now .*select {.*"absent": 0.1}'),
    ):
        given = {"separate": "mixture", "dataset": few, "metrics": ["sdr"], **options, **change}
        with pytest.raises(OutputError, match=problem):
            evaluate_separator(out=tmp_path, **given)
    found = evaluate_separator("silence", few, tmp_path, metrics=["sdr"], overwrite=True, **options)
    assert set(found.table.column("sdr").to_pylist()) == {0.0} and found.num_before == 0


def test_a_model_that_was_edited_is_not_mixed_with_what_it_was(few, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for number in (1, 2):
        monkeypatch.delitem(sys.modules, "edited_model", raising=False)
        (tmp_path / "edited_model.py").write_text(
            f"def separate(mixtures, *_):\n    return {number}.{number * '0'} * mixtures\n"
        )
        linecache.clearcache()
        importlib.invalidate_caches()
        given = {"metrics": ["sdr"], **options}
        if number == 1:
            evaluate_separator("edited_model:separate", few, tmp_path / "out", **given)
        else:
            with pytest.raises(OutputError, match=r'there version "source .*"; now version "source '):
                evaluate_separator("edited_model:separate", few, tmp_path / "out", **given)


def test_a_version_of_a_model_is_not_mixed_with_another(few, options, tmp_path):
    class Model:
        version = 1

        def __call__(self, mixtures, sampling_rate, queries):
            return mixtures

    evaluate_separator(Model(), few, tmp_path, metrics=["sdr"], **options)
    model = Model()
    model.version = 2
    with pytest.raises(OutputError, match='version "1"; now version "2"'):
        evaluate_separator(model, few, tmp_path, metrics=["sdr"], **options)


def test_estimates_that_are_saved_have_the_same_scores(few, options, tmp_path):
    first = evaluate_separator(low_pass, few, tmp_path / "a", save_estimates=tmp_path / "estimates", **options)
    assert soundfile.info(tmp_path / "estimates" / "train" / "sample_00000000.Clock.wav").samplerate == RATE
    second = evaluate_separator(tmp_path / "estimates", few, tmp_path / "b", **options)
    assert without_times(second.table).equals(without_times(first.table))
    (tmp_path / "estimates" / "train" / "sample_00000000.Clock.wav").unlink()
    with pytest.warns(UserWarning, match=r"lacks the estimates of 1 target: sample_00000000\.Clock\.wav"):
        third = evaluate_separator(tmp_path / "estimates", few, tmp_path / "c", **options)
    assert third.summary["failed"] == 1 and "there is no file" in next(iter(third.summary["errors"]))
    with pytest.raises(EvaluationError, match="lacks the estimates of 1 target: "):
        evaluate_separator(tmp_path / "estimates", few, tmp_path / "d", on_error="raise", **options)


def test_remixes_are_of_whole_mixtures(few, options, tmp_path):
    metrics = ["sdr", "remix_si_sdr"]
    found = evaluate_separator("ideal-ratio-mask", few, tmp_path / "a", metrics=metrics, **options)
    by_mixture = {}
    for row in found.table.to_pylist():
        by_mixture.setdefault((row["split"], row["mix_id"]), set()).add(row["remix_si_sdr"])
    assert all(len(values) == 1 and 10 < min(values) < 100 for values in by_mixture.values())

    def without_clocks(mixtures, sampling_rate, queries):
        return np.where([[query == "Clock"] for query in queries], np.nan, mixtures)

    with pytest.warns(UserWarning, match="'Clock'"):
        lacking = evaluate_separator(without_clocks, few, tmp_path / "c", metrics=metrics, **options).table.to_pylist()
    broken = {(row["split"], row["mix_id"]) for row in lacking if row["error"]}
    assert 0 < len(broken) < 7
    assert all((row["remix_si_sdr"] is None) == ((row["split"], row["mix_id"]) in broken) for row in lacking)
    halves = evaluate_separator("mixture-divided", few, tmp_path / "b", metrics=metrics, **options)
    assert halves.summary["remix_si_sdr"] == pytest.approx(100.0) and halves.summary["sdr_improvement"] < 7


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        ({"metrics": ["SDR"]}, ValueError, "metrics must be some of sdr, si_sdr"),
        ({"metrics": "sdr"}, ValueError, "metrics must be some of"),
        ({"metrics": []}, ValueError, "nothing to score by"),
        ({"examples": -1}, ValueError, "examples must be a number"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"on_error": "skip"}, ValueError, "on_error must be 'record' or 'raise'"),
        ({"protocol": "hive"}, EvaluationError, "no protocol 'hive', but hive-test, uss, 2mix, musdb18-hq"),
        ({"save_estimates": "x", "segment_seconds": 1.0}, ValueError, "save_estimates is of whole mixtures"),
    ],
)
def test_options_that_are_wrong(few, tmp_path, change, error, problem):
    with pytest.raises(error, match=problem):
        evaluate_separator("mixture", few, tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_every_one_fails(few, options, tmp_path):
    def separate(mixtures, sampling_rate, queries):
        raise ValueError("no")

    with pytest.warns(UserWarning, match="ValueError: no"):
        found = evaluate_separator(separate, few, tmp_path, examples=6, **options)
    assert found.summary["failed"] == 23 and found.summary["sdr"] is None
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize("kind", ["stream", "splits"])
def test_what_is_no_table(demo, options, tmp_path, kind):
    dataset = hive_datasets.load_dataset("hive", "demo", streaming=kind == "stream")
    with pytest.raises(TypeError, match=r"a stream has no rows|give a loaded dataset"):
        evaluate_separator("mixture", dataset["test"] if kind == "stream" else dataset, tmp_path, **options)


def test_what_has_failed_is_asked_again(few, options, tmp_path):
    asked = []

    def separate(mixtures, sampling_rate, queries):
        asked.extend(queries)
        if len(asked) > 30 and len(asked) < 40:
            raise RuntimeError("out of memory")
        return low_pass(mixtures, sampling_rate, queries)

    given = {"dataset": few, "out": tmp_path / "out", "metrics": ["sdr"], "batch_size": 1, "name": "it", **options}
    asked += [""] * 20
    with pytest.warns(UserWarning, match="out of memory"):
        first = evaluate_separator(separate, **given)
    failed = first.summary["failed"]
    assert failed == 9 and first.summary["scored"] == 14
    before = len(asked)
    found = evaluate_separator(separate, **given)
    assert found.summary["failed"] == 0 and found.num_before == 14
    assert failed <= len(asked) - before < 23  # of those mixtures alone
    at_once = evaluate_separator(low_pass, few, tmp_path / "at once", metrics=["sdr"], **options)
    assert without_times(found.table).equals(without_times(at_once.table))


def test_a_folder_of_something_else_is_left_alone(few, options, tmp_path):
    for name in ("examples", "parts"):
        (tmp_path / name / "own").mkdir(parents=True)
        (tmp_path / name / "own" / "train.py").write_text("mine")
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=f"has {name}, of something else: choose another folder"):
                evaluate_separator("mixture", few, tmp_path, overwrite=overwrite, **options)
        assert (tmp_path / name / "own" / "train.py").read_text() == "mine"
        (tmp_path / name).rename(tmp_path / f"{name} of mine")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run\.json is damaged, or of something else"):
        evaluate_separator("mixture", few, tmp_path, **options)


def test_overwriting_goes_on_too(few, options, tmp_path):
    calls = itertools.count(1)

    def separate(mixtures, sampling_rate, queries):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return mixtures

    given = {"metrics": ["sdr"], "name": "it", "overwrite": True, **options}
    evaluate_separator("silence", few, tmp_path, **{**given, "name": "another"})
    with pytest.raises(KeyboardInterrupt):
        evaluate_separator(separate, few, tmp_path, **given)
    assert evaluate_separator(separate, few, tmp_path, **given).num_before == 9
    assert evaluate_separator(separate, few, tmp_path, **given).num_before == 0  # it was finished


def test_estimates_are_saved_from_the_start_or_not(few, options, tmp_path):
    evaluate_separator("mixture", few, tmp_path / "out", metrics=["sdr"], **options)
    with pytest.raises(OutputError, match="saves_estimates false; now saves_estimates true"):
        evaluate_separator("mixture", few, tmp_path / "out", metrics=["sdr"], save_estimates=tmp_path / "e", **options)


def test_a_mixture_that_is_there_twice(demo_recipes, options, tmp_path):
    with pytest.raises(EvaluationError, match="mixture train/sample_00000000 is there twice"):
        evaluate_separator("mixture", [*demo_recipes[:2], demo_recipes[0]], tmp_path, **options)


def test_scorers_of_ones_own(few, options, tmp_path):
    class Loudness:
        columns = ("loudness",)

        def score(self, estimates, references, labels):
            peaks = [np.abs(estimate.samples).max() for estimate in estimates]
            return {"loudness": np.where(np.array(labels) == "Clock", np.inf, peaks)}

    for _ in range(2):  # another object is the same scorer
        found = evaluate_separator("mixture", few, tmp_path, metrics=["sdr"], scorers=[Loudness()], **options)
    values = dict(zip(found.table.column("label").to_pylist(), found.table.column("loudness").to_pylist(), strict=True))
    assert values["Clock"] is None and values["Engine"] > 0.5 and found.num_before == 23
    text = (tmp_path / "index.html").read_text().partition('id="data">')[2].partition("</script>")[0]
    json.loads(text, parse_constant=pytest.fail)  # as JSON has no NaN, and a browser takes none
    Loudness.columns = ("level",)
    with pytest.raises(
        EvaluationError, match=r"scorer .*Loudness gave \{'loudness': 5\}: it must give 5 numbers for each"
    ):
        evaluate_separator("mixture", few, tmp_path / "c", scorers=[Loudness()], **options)
    with pytest.raises(ValueError, match="two scores have one name"):
        evaluate_separator("mixture", few, tmp_path / "b", scorers=[Loudness(), Loudness()], **options)


def test_one_at_a_time(few, options, tmp_path):
    def separate(mixtures, sampling_rate, queries):
        with pytest.raises(EvaluationError, match="another process is evaluating into"):
            evaluate_separator("mixture", few, tmp_path, **options)
        return mixtures

    evaluate_separator(separate, few, tmp_path, metrics=["sdr"], **options)
