"""The separator: that it learns, and that a kill leaves no trace."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
EXAMPLES = Path(__file__).parents[2] / "examples"


def start(folder, environment, *options):
    command = [sys.executable, EXAMPLES / "train_separator.py", folder, *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_resumes(tmp_path, subprocess_environment):
    """3 dB on recordings that it has not heard; killed twice, the same losses to the last bit."""
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = start(whole, environment, "--steps", "200")
    out = run.communicate(timeout=500)[0]
    assert run.returncode == 0
    found = json.loads(out.splitlines()[-1])
    assert found["si_sdr_improvement_db"] > 3.0 and found["stems"] == 100 and found["step"] == 200
    gain = found["si_sdr_db_of_separator"] - found["si_sdr_db_of_mixture"]
    assert found["si_sdr_improvement_db"] == pytest.approx(gain)
    assert found["si_sdr_db_of_ideal_ratio_mask"] > 15
    assert list(whole.glob("events.out.tfevents.*"))
    killed.mkdir()
    os.symlink(whole / "demo", killed / "demo")
    for until in (20, 40):
        run = start(killed, environment, "--steps", "200", "--save-every", "9", "--num-workers", "1")
        for line in run.stdout:
            if line.startswith(f"step {until}:"):
                break
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
    lines = read_log(killed)
    assert len(lines) >= 40 and lines == read_log(whole)[: len(lines)]
