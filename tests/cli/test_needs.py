import json

import pyarrow.parquet as pq
import pytest

from hive_datasets.cli.main import main


@pytest.fixture
def metadata(shared):
    return str(shared / "mini" / "hub")


def test_lists_are_written_and_the_report_is_text_or_json(metadata, corpora, tmp_path, capsys):
    files = ["--list", str(tmp_path / "lists"), "--write-index", str(tmp_path / "a.parquet")]
    options = [metadata, "--dataset-paths", str(corpora), "--budget", "12MB", "--quiet"]
    assert main(["needs", *options, *files]) == 0
    output = capsys.readouterr()
    table = pq.read_table(tmp_path / "a.parquet")
    assert f"{len(table)} of 64 mixtures need" in output.out
    assert f"{len(table)} mixtures written to {tmp_path / 'a.parquet'}" in output.err
    assert main(["needs", *options, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["mixtures"] == {"chosen": len(table), "total": 64}
    for corpus in report["corpora"]:
        listed = (tmp_path / "lists" / f"{corpus['corpus']}.txt").read_text().splitlines()
        assert len(listed) == corpus["files"] == corpus["there"]
        assert all((corpora / path).is_file() for path in listed)
    options = [metadata, "--available-list", str(tmp_path / "a.parquet"), "--format", "json", "--quiet"]
    assert main(["needs", *options]) == 0  # the list is one that commands take
    assert json.loads(capsys.readouterr().out)["mixtures"]["total"] == len(table)


def test_mistakes(metadata, capsys):
    with pytest.raises(SystemExit):
        main(["needs", metadata, "--balance"])
    assert "--balance is for --budget" in capsys.readouterr().err
    assert main(["needs", metadata, "--corpora", "VGGSound", "-q"]) == 2
    assert "no mixture has sources of VGGSound" in capsys.readouterr().err
