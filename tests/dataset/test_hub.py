"""Against a server that speaks the Hub's API, in fresh interpreters: the endpoint is read at import."""

import json
import subprocess
import sys
import textwrap

import pyarrow.parquet as pq
import pytest

from tests.hub_server import COMMIT, HubServer

REPOSITORY = "ShandaAI/Hive"


@pytest.fixture
def run(subprocess_environment):
    """Run code in a fresh interpreter with caches of its own; returns what it prints, as JSON."""

    def run(code, endpoint, lines=1, **environment):
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**subprocess_environment, "HF_ENDPOINT": endpoint, "PYTHONWARNINGS": "default", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        printed = [json.loads(line) for line in result.stdout.splitlines()[-lines:]]
        return printed if lines > 1 else printed[0]

    return run


STREAM = """
    import json, hive_datasets
    from datasets import load_dataset
    splits = load_dataset("hive", streaming=True, **OPTIONS)
    row = next(iter(splits["train"]))
    counts = {split: len(list(stream.decode(False))) for split, stream in splits.items()}
    print(json.dumps([row["mix_id"], float(abs(row["mixture"]["mix"]).max()), counts]))
"""
MINI = {"train": 48, "validation": 8, "test": 8}


def test_streaming_from_the_hub(shared, corpora, run):
    with HubServer(REPOSITORY, shared / "mini" / "hub") as server:
        mix_id, peak, counts = run(STREAM.replace("**OPTIONS", ""), server.url, HIVE_DATASET_PATHS=str(corpora))
        assert (peak, counts) == (pytest.approx(0.95, abs=1e-5), MINI)
        assert mix_id == "sample_00000000"
        ranges = [span for method, path, span in server.requests if path.endswith(".parquet") and method == "GET"]
        assert ranges
        assert all(ranges)  # read by range, not downloaded


def test_what_datasets_tells_of_the_hub_s(shared, run):
    code = """
        import json, datasets, hive_datasets
        print(json.dumps({name: list(info.splits) for name, info in datasets.get_dataset_infos("hive").items()}))
    """
    with HubServer(REPOSITORY, shared / "mini" / "hub") as server:
        told = run(code, server.url)
    assert set(told) == {"default", "2mix", "3mix", "4mix", "5mix", "demo"}
    assert all(splits == ["train", "validation", "test"] for splits in told.values())


def test_a_revision_and_an_hf_url(shared, run):
    with HubServer(REPOSITORY, shared / "mini" / "hub") as server:
        code = f"""
            import json, hive_datasets
            from datasets import load_dataset
            for options in (
                {{"revision": "{COMMIT}"}},
                {{"data_dir": "hf://datasets/{REPOSITORY}"}},
                {{"data_files": {{"train": "hf://datasets/{REPOSITORY}/train/*.parquet"}}}},
            ):
                splits = load_dataset("hive", streaming=True, **options)
                print(json.dumps({{split: len(list(stream.decode(False))) for split, stream in splits.items()}}))
        """
        assert run(code, server.url, lines=3) == [MINI, MINI, {"train": 48}]


def test_the_authors_json_from_the_hub(shared, corpora, run):
    with HubServer(REPOSITORY, shared / "mini" / "json") as server:
        code = STREAM.replace("**OPTIONS", f'data_dir="hf://datasets/{REPOSITORY}"')
        assert run(code, server.url, HIVE_DATASET_PATHS=str(corpora))[2] == MINI


LOAD = """
    import json, hive_datasets
    from datasets import load_dataset
    splits = load_dataset("hive")
    peaks = {split: float(abs(rows[0]["mixture"]["mix"]).max()) for split, rows in splits.items()}
    print(json.dumps({split: [len(rows), peaks[split]] for split, rows in splits.items()}))
"""


def test_downloading_then_working_offline(shared, corpora, run):
    """What was downloaded once is found again without a network."""
    roots = {"HIVE_DATASET_PATHS": str(corpora)}
    with HubServer(REPOSITORY, shared / "mini" / "hub") as server:
        loaded = run(LOAD, server.url, **roots)
        assert {split: count for split, (count, _) in loaded.items()} == MINI
        assert all(peak == pytest.approx(0.95, abs=1e-5) for _, peak in loaded.values())
        url = server.url
    assert run(LOAD, url, HF_HUB_OFFLINE="1", **roots) == loaded
    assert run(LOAD, url, **roots) == loaded


VERIFY = """
    import json, sys
    from hive_datasets.cli.main import main
    code = main(["verify", "--quiet", "--split", "train", "test", "--write-index", sys.argv[1]])
    print(json.dumps(code))
"""


def test_verifying_what_the_hub_has(shared, corpora, run, tmp_path):
    """Without an argument, and only the splits that are asked for."""
    code = VERIFY.replace("sys.argv[1]", repr(str(tmp_path / "usable.parquet")))
    with HubServer(REPOSITORY, shared / "mini" / "hub") as server:
        assert run(code, server.url, HIVE_DATASET_PATHS=str(corpora)) == 0
        read = {path.split("/")[-2] for _, path, span in server.requests if path.endswith(".parquet") and span}
    assert read == {"train", "test"}
    assert len(pq.read_table(tmp_path / "usable.parquet")) == 56


UNREACHABLE = """
    import json, hive_datasets
    from datasets import load_dataset
    try:
        load_dataset("hive", streaming=True)
    except hive_datasets.MetadataUnavailableError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_an_unreachable_hub_says_the_three_ways_on(run, environment):
    message = run(UNREACHABLE, "http://127.0.0.1:1", **environment)
    for part in (REPOSITORY, 'load_dataset("hive", "demo")', "data_dir=", "HF_ENDPOINT"):
        assert part in message


def test_a_hub_without_the_repository_says_so(shared, run):
    with HubServer("somebody/else", shared / "mini" / "hub") as server:
        assert "Three ways on" in run(UNREACHABLE, server.url)
