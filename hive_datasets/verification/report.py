"""A verification as text, and its findings as a file: a row each, as JSON lines, CSV or parquet."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..utils.files import written_aside
from ..utils.tables import format_table
from .result import Finding, MixtureCoverage, Verification

REPORT_SUFFIXES = (".jsonl", ".csv", ".parquet")
_SCHEMA = pa.schema([(name, pa.int64() if name == "rows" else pa.string()) for name in Finding._fields])
_BATCH_ROWS = 10_000


def format_report(result: Verification) -> str:
    """What a verification found, as text for a terminal."""
    counts = ("needed", "found", "variant", "missing", "too_short", "unreadable", "wrong")
    corpora = [["corpus", *(name.replace("_", " ") for name in counts)]]
    corpora += [[summary.title, *(f"{getattr(summary, name):,}" for name in counts)] for summary in result.corpora]
    corpora += [["total", *(f"{sum(getattr(summary, name) for summary in result.corpora):,}" for name in counts)]]
    mixtures = [[describe_scope(result), "usable", "of", ""]]
    mixtures += [
        _coverage_row(describe_mixtures(coverage), coverage.usable, coverage.total) for coverage in result.mixtures
    ]
    mixtures += [_coverage_row("total", int(result.usable.sum()), len(result.usable))]
    parts = [format_table(corpora), format_table(mixtures)]
    if result.next_steps:
        parts.append("What to do next")
    for step in result.next_steps:
        lines = [f"{step.corpus}: {step.problem}", f"    {step.advice}"]
        lines += [f"    dataset_paths: {step.configuration}"] if step.configuration else []
        parts.append("\n".join(lines))
    configurations = [json.loads(step.configuration) for step in result.next_steps if step.configuration]
    if len(configurations) > 1:
        merged = {name: root for configuration in configurations for name, root in configuration.items()}
        parts.append(f"All of these together, for dataset_paths: {json.dumps(merged)}")
    if result.details:
        parts.append("Every file: --report FILE, or --html FILE")
    if result.usable.any() and not result.usable.all() and not result.only:
        parts.append('Train on what is there: hive_datasets.load_dataset("hive", available_only=True, ...)')
    return "\n\n".join(parts)


def describe_scope(result: Verification) -> str:
    """Of which mixtures is told what can be used, and how far."""
    return f"mixtures, as far as {', '.join(result.only)} goes" if result.only else "mixtures"


def write_findings(result: Verification, file: Path) -> int:
    """Write the findings to a .jsonl, .csv or .parquet file, which appears when it is whole; returns their number."""
    write = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}[file.suffix.lower()]
    with written_aside(file) as aside:
        write(result.findings(), aside)
    return len(result.details)


def write_usable_mixtures(result: Verification, file: Path) -> int:
    """Write which mixtures can be used, as parquet for ``load_dataset("hive", available_only=FILE)``."""
    return write_mixture_list(result.usable_mixtures(), file)


def write_mixture_list(table: pa.Table, file: Path) -> int:
    """Write a table of split and mix_id as the list that ``available_only=`` takes; returns how many they are."""
    with written_aside(file) as aside:
        pq.write_table(table, aside, write_page_checksum=True)
    return len(table)


def _write_jsonl(findings: Iterable[Finding], file: Path) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for finding in findings:
            stream.write(json.dumps(finding._asdict()) + "\n")


def _write_csv(findings: Iterable[Finding], file: Path) -> None:
    with file.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_SCHEMA.names)
        writer.writerows(findings)


def _write_parquet(findings: Iterable[Finding], file: Path) -> None:
    findings = iter(findings)
    with pq.ParquetWriter(file, _SCHEMA, write_page_checksum=True) as writer:
        while batch := list(itertools.islice(findings, _BATCH_ROWS)):
            rows = [{name: _encodable(value) for name, value in finding._asdict().items()} for finding in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))


def _encodable(value: str | int) -> str | int:
    """Text without what a file's name may have and UTF-8 has not."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def describe_mixtures(coverage: MixtureCoverage) -> str:
    """Which mixtures, in words."""
    return f"{coverage.split}, {coverage.num_sources} source{'s' if coverage.num_sources != 1 else ''}"


def format_share(usable: int, total: int) -> str:
    """A share in percent, which is 100 % or 0 % only if it is all or nothing.

    Example:
        >>> format_share(99_999, 100_000), format_share(7, 7), format_share(1, 3)
        ('99.9 %', '100.0 %', '33.3 %')
    """
    percent = 100 * usable / total if total else 100.0
    if 0 < usable < total:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f} %"


def _coverage_row(name: str, usable: int, total: int) -> list[str]:
    return [name, f"{usable:,}", f"{total:,}", format_share(usable, total)]
