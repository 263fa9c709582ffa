"""Tables as text for a terminal, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from .files import written_aside


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text: the first column to the left, numbers to the right.

    Example:
        >>> print(format_table([["corpus", "files"], ["ESC-50", "2,000"]]))
        corpus  files
        ESC-50  2,000
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def write_csv(file: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows to a CSV file, which appears when it is whole; if there are none but the head, there is no file."""
    head, *rest = rows
    if not rest:
        file.unlink(missing_ok=True)
        return
    # names of files may have what UTF-8 has not
    text = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with written_aside(file) as aside, aside.open("w", **text) as out:  # type: ignore[call-overload]
        csv.writer(out).writerows([head, *rest])
