"""``hive-datasets compare``."""

import json

import pytest

from hive_datasets import Subset, evaluate_separator
from hive_datasets.cli.main import main


@pytest.fixture(scope="module")
def runs(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    options = {"dataset_paths": demo / "sources", "sampling_rate": 8000, "metrics": ["sdr"]}
    for name, limit in (("mixture", 8), ("ideal-binary-mask", 8), ("silence", 6)):
        evaluate_separator(name, Subset(demo / "metadata", limit=limit), folder / name, **options)
    return folder


def test_which_is_better(runs, tmp_path, capsys):
    a, b = str(runs / "mixture"), str(runs / "ideal-binary-mask")
    assert main(["compare", a, b]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("SDR (plain) improvement"))
    assert "8 / 0 / 0" in row and "p = 0.0078" in row and row.endswith("better")
    assert main(["compare", a, b, "--format", "json", "--out", str(tmp_path / "page")]) == 0
    printed, said = capsys.readouterr()
    found = json.loads(printed)
    assert found["differences"]["sdr"]["verdict"] == "better" and found["is_same_data"] and found["compared"] == 28
    assert said == f"to look and listen: {tmp_path / 'page' / 'index.html'}\n"
    summary = json.loads((runs / "mixture" / "summary.json").read_text())
    votes = {"a": "mixture", "b": "ideal-binary-mask", "data_hash": summary["data_hash"]}
    (tmp_path / "votes.json").write_text(json.dumps({**votes, "votes": [{"vote": "b"}] * 7}))
    assert main(["compare", a, b, "--votes", str(tmp_path / "votes.json")]) == 0
    assert "Votes of 1 listener: A 0, B 7, neither 0; sign test p = 0.016." in capsys.readouterr().out


def test_of_other_targets(runs, capsys):
    assert main(["compare", str(runs / "mixture"), str(runs / "silence")]) == 1
    printed = capsys.readouterr().out
    assert "Left out: 9 that only A has scored, 0 that only B has." in printed
    assert "They were not asked alike, but differ in data: beware." in printed


def test_mistakes(runs, tmp_path, capsys):
    assert main(["compare", str(runs / "mixture"), str(tmp_path)]) == 2
    assert "the evaluation there is none: evaluate into it first" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(runs / "mixture"), str(runs / "silence"), "--blind"])
    assert "--blind is of the page that --out writes" in capsys.readouterr().err
