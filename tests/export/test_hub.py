"""Against a server that speaks the Hub's API, in fresh interpreters: the endpoint is read at import."""

import subprocess
import sys

import pytest

from tests.hub_server import HubServer

REPOSITORY = "me/hive-preview"


@pytest.fixture
def run(subprocess_environment, tmp_path):
    """Run the command line in a fresh interpreter with caches of its own; returns exit code, output and errors."""

    def start(server, *arguments):
        environment = {
            **subprocess_environment,
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": "hf_any",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONWARNINGS": "default",
        }
        code = "import sys; from hive_datasets.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", code, *map(str, arguments), "--quiet"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        return result.returncode, result.stdout, result.stderr

    return start


@pytest.fixture
def server(tmp_path):
    (tmp_path / "hub").mkdir()
    with HubServer(REPOSITORY, tmp_path / "hub") as server:
        yield server


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(("more", "private"), [([], True), (["--no-private"], False)])
def test_a_preview_arrives_whole(run, server, tmp_path, more, private):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    code, printed, errors = run(
        server, "preview", "--demo", "--split", "test", "--out", out, "--push-to-hub", REPOSITORY, *more
    )
    assert code == 0, errors
    assert f"uploaded to {server.url}/datasets/{REPOSITORY}" in printed
    assert [asked.get("private", asked.get("visibility") == "private") for asked in server.created] == [private]
    arrived = contents(server.folder)
    assert arrived == contents(out)
    assert set(arrived) == {"README.md", "data/test-00000.parquet"}
    assert f'load_dataset("{REPOSITORY}", split="test")' in arrived["README.md"].decode()


LOAD = """
import json, sys
import hive_datasets
from datasets import load_dataset
name, sources = sys.argv[1:]
plain = load_dataset(name, split="test")
mixtures = load_dataset("hive", data_dir=f"hf://datasets/{name}", split="test", streaming=True, dataset_paths=sources)
assert [row["mix_id"] for row in plain] == [row["mix_id"] for row in mixtures.decode(False)]
assert abs(next(iter(mixtures))["mixture"]["mix"]).max() > 0.9
print(len(plain), plain.column_names)
"""


def test_metadata_that_both_loaders_read_from_the_hub(run, server, tmp_path, demo, subprocess_environment):
    code, _, errors = run(server, "package", "--demo", "--out", tmp_path / "out", "--push-to-hub", REPOSITORY)
    assert code == 0, errors
    assert contents(server.folder) == contents(tmp_path / "out")
    result = subprocess.run(
        [sys.executable, "-c", LOAD, REPOSITORY, demo / "sources"],
        env={**subprocess_environment, "HF_ENDPOINT": server.url, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("8 ['mix_id', 'split', ")


def test_the_hub_is_asked_before_anything_is_made(run, server, tmp_path):
    code, _, errors = run(server, "package", "--demo", "--out", tmp_path / "out", "--push-to-hub", "somebody/else")
    assert code == 2
    assert "somebody/else is not yours: you are logged in as me and ours. Nothing was made." in errors
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_uploaded_is_kept(run, server, tmp_path):
    """Whatever the Hub has said before."""
    server.is_full = True
    code, _, errors = run(server, "package", "--demo", "--out", tmp_path / "out", "--push-to-hub", REPOSITORY)
    assert code == 2
    assert f"could not be uploaded to {REPOSITORY}" in errors
    assert f"hf upload {REPOSITORY} {tmp_path / 'out'} --repo-type dataset" in errors
    assert (tmp_path / "out" / "README.md").exists()


def test_a_name_that_is_none_is_told_at_once(run, server, tmp_path):
    code, _, errors = run(server, "package", "--demo", "--out", tmp_path / "out", "--push-to-hub", "-bad name!")
    assert code == 2
    assert "is no name of a repository, such as me/name" in errors
    assert not (tmp_path / "out").exists()


def test_a_hub_that_is_not_there(run, server, tmp_path):
    server.shutdown()
    server.server_close()
    code, _, errors = run(server, "package", "--demo", "--out", tmp_path / "out", "--push-to-hub", REPOSITORY)
    assert code == 2
    assert "could not be asked for at the Hub" in errors and "without --push-to-hub. Nothing was made." in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_a_script_that_keeps_a_repository_from_loading(run, server, tmp_path):
    (server.folder / "hive-preview.py").write_text("")
    code, _, errors = run(server, "package", "--demo", "--out", tmp_path / "out", "--push-to-hub", REPOSITORY)
    assert code == 2
    assert not (tmp_path / "out").exists()
    assert "hive-preview.py, a loading script by its name" in errors
    assert set(contents(server.folder)) == {"hive-preview.py"}


def test_a_second_upload_leaves_nothing_of_the_first(run, server, tmp_path):
    """Files of other names, which would be read along, go; what is not of its kind stays."""
    for name, rows in (("first", 5), ("second", 9)):
        command = ["package", "--demo", "--out", tmp_path / name, "--rows-per-shard", rows]
        code, _, errors = run(server, *command, "--push-to-hub", REPOSITORY)
        assert code == 0, errors
        (server.folder / "notes.txt").write_text("mine")
    arrived, second = contents(server.folder), contents(tmp_path / "second")
    assert arrived.pop("notes.txt") == b"mine"
    assert arrived == second
    assert set(second) - set(contents(tmp_path / "first"))
