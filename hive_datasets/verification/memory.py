"""What was verified, remembered by a file's size, its time of modification and how closely it was looked at."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from ..sources.storage import index_file
from .checks import LEVELS, Facts

_COLUMNS = "path, size, version, level, crops, status, detail, sampling_rate, channels, frames"
_CREATE = f"""
CREATE TABLE IF NOT EXISTS files_1 (
    {_COLUMNS.replace("path,", "path BLOB PRIMARY KEY,")}, short INTEGER DEFAULT 0
) WITHOUT ROWID
"""


class Memory:
    """The results for one root, in a file of the user's cache.

    Used from one thread. What `keep` was given is safe once `keep` has returned, whatever happens then.

    Args:
        root: the root.
    """

    def __init__(self, root: str) -> None:
        self._database = sqlite3.connect(memory_file(root), timeout=60.0)
        self._database.execute("PRAGMA journal_mode = WAL")
        # a commit survives the end of the process; a loss of power may undo the last ones, but damages nothing
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(_CREATE)

    def load(self, level: str) -> dict[str, tuple[int, int, int, Facts]]:
        """What is known at least as closely as `level`: path inside the root to (size, version, crops, facts)."""
        known = "level = 'header' OR level = 'decode'" if level == "header" else "level = 'decode'"
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM files_1 WHERE {known}")
        return {os.fsdecode(row[0]): (row[1], row[2], row[4], Facts(*row[5:])) for row in rows}

    def faults(self) -> dict[str, tuple[int, int, Facts]]:
        """The files found to be faulty or shorter than needed: path inside the root to (size, version, facts)."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM files_1 WHERE status != 'ok' OR short")
        return {os.fsdecode(row[0]): (row[1], row[2], Facts(*row[5:])) for row in rows}

    def keep(self, level: str, results: Iterable[tuple[str, int, int, int, Facts]]) -> None:
        """Remember results: (path inside the root, size, version, crops, facts)."""
        assert level in LEVELS
        rows = [
            (os.fsencode(path), size, version, level, crops, *facts) for path, size, version, crops, facts in results
        ]
        with self._database:
            self._database.executemany(
                f"INSERT OR REPLACE INTO files_1 ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", rows
            )

    def mark_short(self, paths: Iterable[str]) -> None:
        """Remember that files are shorter than some metadata needs."""
        with self._database:
            rows = [(os.fsencode(path),) for path in paths]
            self._database.executemany("UPDATE files_1 SET short = 1 WHERE path = ?", rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def recall_faults(root: str) -> dict[str, tuple[int, int, Facts]]:
    """The faults that are known of a root, as `Memory.faults` has them; none if it was never verified."""
    if not memory_file(root).exists():
        return {}
    with contextlib.closing(Memory(root)) as memory:
        return memory.faults()


def memory_file(root: str) -> Path:
    """Where the results for a root are remembered."""
    return index_file(root).with_suffix(".sqlite")
