import json
import os
import subprocess
import sys

import pytest
import yaml

from hive_datasets.cli.main import main
from tests.curation.test_clips import files_of


@pytest.fixture
def config(corpora, tmp_path):
    """A configuration and its records, in a folder of their own."""
    rows = [{"audio_path": str(path), "text_label": ["Dog"]} for path in files_of(corpora)[:12]]
    rows += [
        {"audio_path": "gone.wav", "text_label": ["Dog"]},
        {"audio_path": "gone.wav", "text_label": ["Dog", "Cat"]},
    ]
    (tmp_path / "recordings.json").write_text(json.dumps(rows))
    return write(
        tmp_path / "config.yaml",
        records="recordings.json",
        output="curated",
        steps=["Chunk", {"SingleEvent": {"judge": {"tests.curation.models:PeakJudge": {"above": 0.3}}}}, "SingleLabel"],
        records_per_shard=4,
    )


def write(file, **config):
    file.write_text(yaml.safe_dump(config))
    return file


def test_a_report_and_a_page(config, tmp_path, capsys):
    assert main(["curate", str(config)]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["Chunk", "taken", "14"] in lines and ["dropped:", "unreadable", "2"] in lines
    assert out.splitlines()[-1].startswith("14 records read, ")
    assert "in 4 shards: " in out and str(tmp_path / "curated") in out
    assert "curating" in err and f"examples of what was kept and dropped: {tmp_path}/curated/examples.html" in err
    assert main(["curate", str(config), "--resume", "--quiet", "--format", "json"]) == 0
    found, err = capsys.readouterr()
    summary = json.loads(found)
    assert summary["steps"]["Chunk"]["taken"] == summary["records"] == 14
    assert summary["kept"] == summary["steps"]["SingleLabel"]["kept"] > 0
    assert "curating" not in err


def test_going_on(config, tmp_path, capsys):
    assert main(["curate", str(config), "--limit", "8", "--quiet"]) == 0
    assert main(["curate", str(config), "--quiet"]) == 2
    assert "holds a run: resume it (--resume" in capsys.readouterr().err
    assert main(["curate", str(config), "--quiet", "--resume", "--num-workers", "2"]) == 0
    assert "in 4 shards, 2 of which were there" in capsys.readouterr().out


def test_records_of_a_dataset(corpora, tmp_path, capsys):
    """Whatever `load_dataset` reads."""
    pytest.importorskip("torchcodec")  # without which datasets makes no table of audio
    records = {"path": "audiofolder", "data_files": {"train": str(corpora / "ESC-50-master" / "**")}, "split": "train"}
    for streaming in (False, True):
        config = write(
            tmp_path / "config.yaml",
            records={**records, "streaming": streaming},
            output=f"out-{streaming}",
            steps=["Chunk"],
        )
        assert main(["curate", str(config), "--quiet"]) == 0
        assert "records read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cannot be read: No such file"),
        ("steps: [", "is no YAML"),
        ("just text", "must say records, output, steps"),
        ("records: a\noutput: b", "does not say steps"),
        ("records: a\noutput: b\nsteps: [Chunk]\nmodel: c", "there is no 'model', only records, output, steps"),
        ("records: a\noutput: b\nsteps: [Chunc]", "step 1: there is no 'Chunc'. Did you mean Chunk?"),
        ("records: a\noutput: b\nsteps: [Chunk]", "a is neither a folder nor a file of JSON: it is not there"),
        ("records: {path: audiofolder}\noutput: b\nsteps: [Chunk]", "say which split"),
        ("records: {path: audiofolder, split: [a]}\noutput: b\nsteps: [Chunk]", "say which split"),
        (
            "records: {path: json, data_files: bad.json, split: train}\noutput: b\nsteps: [Chunk]",
            "load_dataset cannot read",
        ),
        ("records: {path: audiofolder, split: a, streeming: 1}\noutput: b\nsteps: [Chunk]", "load_dataset cannot read"),
        ("records: a\noutput: 5\nsteps: [Chunk]", "output is 5: it must be the path of a folder"),
        ("records: 3\noutput: b\nsteps: [Chunk]", "records are 3: they must be a path"),
        ("records: a\noutput: b\nsteps: [Chunk]\nnum_workers: many", "num_workers must be a whole number"),
        ("records: a\noutput: b\nsteps: [Chunk]\nnum_workers: true", "num_workers must be a whole number"),
        ("records: a\noutput: b\nsteps: [Chunk]\non_error: skip", "on_error must be"),
    ],
)
def test_configurations_that_are_wrong(tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{{")
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["curate", str(file), "--quiet"]) == 2
    err = capsys.readouterr().err
    err = err[err.index("hive-datasets: ") :]  # after datasets' own progress
    assert message in err and err.count("\n") <= 6
    assert not (tmp_path / "b").exists()


def test_a_folder_at_home(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = write(tmp_path / "home.yaml", records="recordings.json", output="~/out", steps=["Chunk"])
    assert main(["curate", str(file), "--quiet", "--limit", "1"]) == 0
    assert (tmp_path / "home" / "out" / "config.json").exists()


def test_a_model_beside_the_configuration(config, tmp_path, monkeypatch):
    """Also in worker processes."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = "from dataclasses import dataclass\nfrom tests.curation.models import PeakJudge\n\n@dataclass(frozen=True)\n"
    (tmp_path / "my_models_beside.py").write_text(f"{code}class Mine(PeakJudge):\n    pass\n")
    steps = [{"SingleEvent": {"judge": "my_models_beside:Mine"}}]
    file = write(tmp_path / "mine.yaml", records="recordings.json", output="mine", steps=steps, records_per_shard=4)
    assert main(["curate", str(file), "--quiet", "--num-workers", "2"]) == 0


def test_a_backend_that_is_missing(config, tmp_path, capsys):
    steps = [{"SingleEvent": {"judge": {"TransformersJudge": {"name": str(tmp_path / "nowhere")}}}}]
    broken = write(tmp_path / "broken.yaml", records="recordings.json", output="broken", steps=steps)
    assert main(["curate", str(broken), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert "cannot be loaded from" in err or "is needed: pip install" in err


def test_ctrl_c(config, tmp_path):
    code = """
import os, signal, sys
from hive_datasets.cli import curate
from hive_datasets.cli.main import main
run_pipeline = curate.run_pipeline
signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever runs tests may have switched off

class Progress:
    def __call__(self, step, unit, total):
        return self
    def __enter__(self):
        return lambda done: os.kill(os.getpid(), signal.SIGINT)
    def __exit__(self, *exception):
        pass

curate.run_pipeline = lambda *arguments, **options: run_pipeline(*arguments, **{**options, "progress": Progress()})
sys.exit(main(["curate", sys.argv[1]]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", code, config], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 130
    assert ended.stderr.splitlines() == ["hive-datasets: interrupted; finished shards are kept: go on with --resume"]
    assert main(["curate", str(config), "--quiet", "--resume"]) == 0
