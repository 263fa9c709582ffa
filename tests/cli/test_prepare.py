import json
import re

import pytest

from hive_datasets import PreparedSources
from hive_datasets.cli.main import main


@pytest.fixture
def arguments(shared, corpora, tmp_path):
    metadata = str(shared / "mini" / "hub")
    return ["prepare", metadata, "--out", str(tmp_path / "p"), "--dataset-paths", str(corpora), "--quiet"]


def test_prepare(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert "64 mixtures need 58 clips (chunks of files" in output.out
    assert "\nPrepared: 58 clips, 0.031 GB. Already there: 0.\n" in output.out
    assert "1 clips were stored as float32 too" in output.out
    assert f'load_dataset("hive", data_dir="{arguments[1]}", prepared="{tmp_path / "p"}")' in output.out
    assert output.err == ""
    assert main(arguments) == 0
    assert "Prepared: 0 clips, 0.000 GB. Already there: 58." in capsys.readouterr().out


def test_dry_run(arguments, tmp_path, capsys):
    assert main([*arguments, "--dry-run", "--sampling-rate", "16000"]) == 0
    assert "To be prepared: 58 clips, 0.011 GB." in capsys.readouterr().out
    assert not (tmp_path / "p").exists()


def test_options(arguments, tmp_path, capsys):
    options = [
        "--split",
        "train",
        "--num-sources",
        "2",
        "--num-sources",
        "3",
        "--only-crops",
        "--shard-size",
        "1MB",
    ]
    assert main([*arguments, *options, "--sampling-rate", "32000", "--num-workers", "1", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    prepared = PreparedSources(tmp_path / "p")
    assert report["mixtures"] == 24 and report["lacking"] == {} and report["clips"] == report["written"]
    assert prepared.sampling_rate == 32000 and len(prepared.index.shards) > 3


@pytest.fixture
def few(arguments):
    return [*arguments, "--split", "validation", "--num-sources", "2"]


def test_lacking_sources_are_findings(arguments, corpora, tmp_path, capsys):
    arguments[arguments.index("--dataset-paths") + 1] = json.dumps({"ESC50": str(corpora / "ESC-50-master")})
    assert main(arguments) == 1
    output = capsys.readouterr().out
    assert "Lacking of AudioSet: 1 clips, such as 'AudioSet/" in output and "no source root fits" in output
    assert str(tmp_path / "p" / "lacking.csv") in output
    assert main([*arguments, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["lacking"]["AudioSet"] == 1


def test_verify(few, tmp_path, capsys):
    assert main(few) == 0
    index = PreparedSources(tmp_path / "p").index
    entry = index.entry(0)
    with (tmp_path / "p" / index.shards[entry.shard][0]).open("r+b") as stream:
        stream.seek(entry.samples_offset)
        stream.write(b"\1\2\3\4")
    assert main([*few, "--verify"]) == 0
    output = capsys.readouterr().out
    assert "Prepared: 1 clips" in output and re.search(r"Compared with their checksums: \d clips. Damaged: 1\.", output)


def test_errors(few, arguments, tmp_path, capsys):
    assert main([*arguments, "--label", "no such label"]) == 2
    assert "no mixture has the label 'no such label'" in capsys.readouterr().err
    assert main(few) == 0
    assert main([*few, "--sampling-rate", "16000"]) == 2
    assert "prepare into another folder" in capsys.readouterr().err
    for mistake in (
        ["--sampling-rate", "0"],
        ["--sampling-rate", "44.1k"],
        ["--sample-type", "int8"],
        ["--num-workers", "x"],
        ["--shard-size", "big"],
        ["--verify", "--dry-run"],
        ["--out", "s3://bucket/p"],
    ):
        with pytest.raises(SystemExit) as exit_:
            main([*arguments, *mistake])
        assert exit_.value.code == 2


def test_progress_goes_to_standard_error(few, capsys):
    few.remove("--quiet")
    assert main(few) == 0
    output = capsys.readouterr()
    assert "preparing:" in output.err and "MB/s" in output.err and "mixtures" in output.err
    assert "preparing:" not in output.out
