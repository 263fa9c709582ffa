"""Blocks of README and docs that are no doctests, run as they stand: against a local Hub with the demo's metadata."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hive_datasets import prepare_sources
from tests.hub_server import HubServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name} {number}": block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    if ">>>" not in block
}


def test_there_are_blocks():
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists()


@pytest.fixture(scope="module")
def prepared_demo(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare_sources(demo / "metadata", folder, dataset_paths=demo / "sources")
    return folder


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, demo, prepared_demo, subprocess_environment, tmp_path):
    if "Loader" in BLOCKS[name]:
        pytest.importorskip("torch")
    code = f"import hive_datasets\nfrom datasets import load_dataset\n{BLOCKS[name]}"
    for root, corpus in {
        "s3://bucket/AudioSet": "AudioSet",
        "/data/BBC.zip": "BBC_Sound_Effects",
        "/data/ESC-50-master": "ESC-50-master",
    }.items():
        code = code.replace(root, str(demo / "sources" / corpus))
    code = code.replace("/data/hive-44k", str(prepared_demo)).replace("/data/hive", str(demo / "sources"))
    if "batches =" in code:
        code += "\nassert sum(len(batch['mix']) for batch in batches) == 24"
    elif "TrainingLoader" in code:
        code += "\nassert loader.state_dict()['consumed'] == 24 and mixture.shape == target.shape == (8, 128_000)"
    elif "DataLoader" in code:
        code += "\nassert len(list(loader)) == 24"
    with HubServer("ShandaAI/Hive", demo / "metadata") as server:
        environment = {"HF_ENDPOINT": server.url, "HIVE_DATASET_PATHS": str(demo / "sources")}
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**subprocess_environment, "PYTHONWARNINGS": "default", **environment},
            check=True,
            timeout=300,
        )
