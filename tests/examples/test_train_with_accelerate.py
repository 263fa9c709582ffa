"""Training on two processes, and on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate")
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_two_processes_go_on_where_they_were_stopped(tmp_path, subprocess_environment):
    """To the batch; that losses are the same to the last bit, `tests/training/test_ranks.py` tests."""
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}

    def run(epochs):
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
        options = ["--epochs", str(epochs), "--save-every", "2"]
        command = [*launch, EXAMPLES / "train_with_accelerate.py", tmp_path / "run", *options]
        out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]

    first, second = run(1), run(2)
    assert [line["consumed"] for line in first] == [8, 16, 24]
    assert [line["consumed"] for line in second] == [32, 40, 48]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint"]
    assert all(-30 < line["loss_db"] < 10 for line in first + second)
