"""The README's blocks that are no doctests, run as they stand: against a local Hub that holds the demo's metadata."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import HubServer

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if ">>>" not in block]


def test_there_are_blocks():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block(block, demo, subprocess_environment):
    code = f"import hive_datasets\nfrom datasets import load_dataset\n{block}".replace(
        "/data/hive", str(demo / "sources")
    )
    if "DataLoader" in block:
        pytest.importorskip("torch")
        code = f"{code}\nassert len(list(loader)) == 24"
    with HubServer("ShandaAI/Hive", demo / "metadata") as server:
        environment = {"HF_ENDPOINT": server.url, "HIVE_DATASET_PATHS": str(demo / "sources")}
        subprocess.run(
            [sys.executable, "-c", code],
            env={**subprocess_environment, "PYTHONWARNINGS": "default", **environment},
            check=True,
            timeout=300,
        )
