"""Training on two processes, and on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate")
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_two_processes_go_on_as_one_that_was_never_stopped(tmp_path, subprocess_environment):
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}

    def run(folder, epochs):
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
        options = ["--epochs", str(epochs), "--save-every", "2"]
        command = [*launch, EXAMPLES / "train_with_accelerate.py", tmp_path / folder, *options]
        out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]

    whole = run("whole", 2)
    assert [line["consumed"] for line in whole] == [8, 16, 24, 32, 40, 48]
    assert run("stopped", 1) + run("stopped", 2) == whole
