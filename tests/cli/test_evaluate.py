"""``hive-datasets evaluate``."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from hive_datasets.cli.main import main

INTERRUPTED = """
import os, pathlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever runs tests may have switched off
calls = pathlib.Path(__file__).with_name("calls")
def separate(mixtures, sampling_rate, queries):
    with calls.open("a") as log:
        log.write("".join(f"{query}\\n" for query in queries))
    if len(calls.read_text().splitlines()) == 40:
        os.kill(os.getpid(), signal.SIGINT)
    return mixtures
"""


def test_names_that_others_rely_on(tmp_path, capsys):
    for name in ("mixture", "silence", "ideal-ratio-mask", "ideal-binary-mask"):
        out = tmp_path / name
        arguments = ["--demo", "--separator", name, "--out", str(out), "--format", "json", "--sampling-rate", "8000"]
        assert main(["evaluate", *arguments, "--quiet", "--limit", "4", "--examples", "0"]) == 0
        printed, said = capsys.readouterr()
        summary, table = json.loads(printed), pq.read_table(out / "targets.parquet")
        for column in ("sdr", "si_sdr", "sdr_improvement", "si_sdr_improvement"):
            assert summary[column] == pytest.approx(np.mean(table.column(column).to_pylist()))
        assert {"mix_id", "split", "label"} < set(table.column_names) and len(table) == summary["asked"] == 14
        assert said == f"to look and listen: {out / 'index.html'}\n"


def test_a_report(tmp_path, capsys):
    arguments = [
        "evaluate",
        "--demo",
        "--limit",
        "8",
        "--separator",
        "mixture",
        "--out",
        str(tmp_path),
        "--absent",
        "0.2",
    ]
    arguments += [
        "--template",
        "the sound of {label}",
        "--sampling-rate",
        "8000",
        "--examples",
        "0",
        "--protocol",
        "2mix",
    ]
    assert main(arguments) == 0
    printed, said = capsys.readouterr()
    assert "silence is right, and only leakage is measured" in printed.splitlines()[0]
    assert "protocol 2mix" in printed and "not known: The papers' own lists of pairs" in printed
    assert "SI-SDR improvement" in printed and "kind of sound" in printed and "Data " in printed.splitlines()[-1]
    assert "evaluating" in said
    queries = pq.read_table(tmp_path / "targets.parquet").column("query").to_pylist()
    assert all(query.startswith("the sound of ") for query in queries)
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().out == printed
    assert main([*arguments, "--quiet", "--metrics", "sdr"]) == 2
    assert "or --overwrite" in capsys.readouterr().err


def test_a_folder_that_lacks_files(tmp_path, capsys):
    common = ["evaluate", "--demo", "--limit", "2", "--sampling-rate", "8000", "--quiet", "--examples", "0"]
    estimates = tmp_path / "estimates"
    assert main([*common, "--separator", "mixture", "-o", str(tmp_path / "a"), "--save-estimates", str(estimates)]) == 0
    next(estimates.rglob("*.Clock.wav")).unlink()
    capsys.readouterr()
    with pytest.warns(UserWarning, match=r"lacks the estimates of 1 target: sample_00000000\.Clock\.wav"):
        assert main([*common, "--separator", str(estimates), "-o", str(tmp_path / "b")]) == 1
    printed, said = capsys.readouterr()
    assert "Failed: 1, which no mean counts. there is no file" in printed
    assert "some targets failed; run it again to ask for those once more" in said
    assert main([*common, "--separator", str(estimates), "-o", str(tmp_path / "c"), "--on-error", "raise"]) == 2
    assert "hive-datasets: " in capsys.readouterr().err


def test_a_folder_of_stems(tmp_path, capsys):
    song = tmp_path / "songs" / "test" / "Song"
    song.mkdir(parents=True)
    for name in ("vocals", "drums", "mixture"):
        soundfile.write(song / f"{name}.wav", np.random.default_rng(0).normal(size=(8000, 2)) * 0.1, 8000)
    arguments = ["evaluate", str(tmp_path / "songs"), "--separator", "silence", "--out", str(tmp_path / "out"), "-q"]
    arguments += ["--protocol", "musdb18-hq", "--examples", "0", "--metrics", "si_sdr", "si_sdr"]
    assert main([*arguments, "--split", "test"]) == 0
    printed = capsys.readouterr().out
    assert "silence: 2 targets of 1 mixtures asked, 2 scored." in printed and "sdr, mean: not measured" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--separator", "my_model"], "none of mixture, silence"),
        (["--separator", "mixture", "--metrics", "sdrr"], "invalid choice: 'sdrr'"),
        (["--separator", "mixture", "--protocol", "hive"], "invalid choice: 'hive'"),
        (["--separator", "mixture", "--segment-seconds", "0"], "'0' is no length in seconds"),
        (["--separator", "mixture", "--segment-seconds", "1", "--save-estimates", "x"], "of whole mixtures"),
        (["--separator", "mixture", "--absent", "0.9"], "no share from 0 to 0.5"),
        (["--separator", "mixture", "--template", "a dog"], 'has no "{label}" in it'),
    ],
)
def test_mistakes(tmp_path, capsys, arguments, said):
    try:
        code = main(["evaluate", "--demo", "--out", str(tmp_path), *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and said in capsys.readouterr().err


def test_ctrl_c_and_again(tmp_path, subprocess_environment):
    (tmp_path / "my_model.py").write_text(INTERRUPTED)
    command = [Path(sys.executable).parent / "hive-datasets", "evaluate", "--demo", "--out", "out", "--quiet"]
    command += ["--separator", "my_model:separate", "--batch-size", "1", "--metrics", "sdr"]
    command += ["--sampling-rate", "8000", "--examples", "0"]
    options = {"cwd": tmp_path, "env": subprocess_environment, "capture_output": True, "text": True}
    ended = subprocess.run(command, **options)
    assert ended.returncode == 130
    assert ended.stderr == "hive-datasets: interrupted; what is scored is kept: run it again to go on\n"
    assert len((tmp_path / "calls").read_text().splitlines()) == 40
    ended = subprocess.run([*command, "--format", "json"], check=True, **options)
    assert json.loads(ended.stdout)["scored"] == 140
    again = len((tmp_path / "calls").read_text().splitlines()) - 140
    assert 1 <= again <= 5  # the mixture about which it was being asked when it came
