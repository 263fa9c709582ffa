import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from hive_datasets import verify_sources
from hive_datasets.verification.report import format_report, write_findings, write_usable_mixtures


@pytest.fixture
def result(shared, damaged):
    return verify_sources(shared / "mini" / "hub", damaged[0], check="decode")


def test_the_report_as_text(result):
    text = format_report(result)
    lines = text.splitlines()
    assert lines[0].split() == [
        "corpus",
        "needed",
        "found",
        "variant",
        "missing",
        "too",
        "short",
        "unreadable",
        "wrong",
    ]
    esc = next(line for line in lines if line.startswith("ESC-50"))
    assert esc.split()[1:] == ["20", "13", "1", "1", "1", "3", "1"]
    total = next(line for line in lines if line.startswith("total"))
    assert total.split()[1:] == ["51", "33", "1", "2", "1", "4", "10"]
    usable = int(result.usable.sum())
    assert f"total {usable} 64 {100 * usable / 64:.1f} %" in [" ".join(line.split()) for line in lines]
    missing = next(line for line in lines if line.startswith("ESC-50-master: 1 of 20 files are missing in "))
    assert missing.endswith("there is no such file, nor a known variant of it")
    assert any(line.startswith("clotho_v2: 1 of 3 files are ambiguous") for line in lines)
    assert "    Several files fit each: remove or rename all but one." in lines
    assert any("https://github.com/karolpiczak/ESC-50" in line and "CC BY-NC 3.0" in line for line in lines)
    assert 'hive_datasets.load_dataset("hive", available_only=True' in lines[-1]
    assert all(line == line.rstrip() for line in lines)
    assert len(lines) < 80  # one path for each kind of fault


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_findings_as_a_file(result, tmp_path, suffix):
    file = tmp_path / f"findings{suffix}"
    assert write_findings(result, file) == 18
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    elif suffix == ".csv":
        rows = [{**row, "rows": int(row["rows"])} for row in csv.DictReader(io.StringIO(file.read_text(), newline=""))]
    else:
        rows = pq.read_table(file).to_pylist()
    assert rows == [finding._asdict() for finding in result.findings()]
    assert list(rows[0]) == ["corpus", "path", "location", "status", "detail", "rows"]


def test_the_list_of_usable_mixtures(result, tmp_path):
    assert write_usable_mixtures(result, tmp_path / "usable.parquet") == int(result.usable.sum())
    assert pq.read_table(tmp_path / "usable.parquet").equals(result.usable_mixtures())
