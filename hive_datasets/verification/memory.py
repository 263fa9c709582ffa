"""What was seen of the files of a root, remembered for as long as they do not change."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import HiveError
from ..sources.storage import index_file
from .checks import Facts, Fault

#: Two tables, since what a header says holds for all, and what decoding found only for the crops that were decoded.
_CREATE = """
CREATE TABLE IF NOT EXISTS headers_1 (
    path BLOB PRIMARY KEY, size, version, status, detail, sampling_rate, channels, frames
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decodes_1 (
    path BLOB PRIMARY KEY, size, version, crops, faults
) WITHOUT ROWID;
"""

# what was decoded before the file changed does not count
_SELECT = """
SELECT headers_1.*, decodes_1.crops, decodes_1.faults FROM headers_1 LEFT JOIN decodes_1
ON decodes_1.path = headers_1.path AND decodes_1.size = headers_1.size AND decodes_1.version = headers_1.version
"""
_KNOWN_FAULTS = "SELECT faults FROM decodes_1 WHERE path = ? AND size = ? AND version = ?"


class Seen(NamedTuple):
    """What was seen of one file.

    Attributes:
        path: inside the root.
        size, version: the file's, by which a change of it shows.
        facts: of its header.
        crops: a key of the crops that were decoded; None if none were.
        faults: of those.
    """

    path: str
    size: int
    version: int
    facts: Facts
    crops: int | None = None
    faults: tuple[Fault, ...] = ()


class Memory:
    """What was seen of the files of a root, in a file of the user's cache.

    Used from one thread. What `keep` was given is safe once `keep` has returned, even if the process is killed then.

    Args:
        root: the root.

    Raises:
        HiveError: the file cannot be written.
    """

    def __init__(self, root: str) -> None:
        self._file = memory_file(root)
        try:
            self._database = _open(self._file)
        except sqlite3.OperationalError as error:
            raise HiveError(f"what was verified cannot be kept in {self._file}: {error}") from None
        except sqlite3.DatabaseError:
            self._file.unlink()
            self._database = _open(self._file)

    def __iter__(self) -> Iterator[Seen]:
        """Everything."""
        return self._select(_SELECT)

    def faulty(self) -> Iterator[Seen]:
        """The files that were found to be faulty."""
        return self._select(f"{_SELECT} WHERE headers_1.status != 'ok' OR decodes_1.faults != '[]'")

    def keep(self, seen: Iterable[Seen]) -> None:
        """Remember; what is known of other crops of the same file stays known."""
        results = list(seen)
        try:
            self._keep(results)
        except sqlite3.OperationalError as error:  # locked, or the disk is full
            raise HiveError(f"what was verified cannot be kept in {self._file}: {error}") from None
        except sqlite3.DatabaseError:
            self._begin_anew()
            self._keep(results)

    def _keep(self, seen: list[Seen]) -> None:
        with self._database:
            for path, size, version, facts, crops, faults in seen:
                key = os.fsencode(path)
                header = (key, size, version, *facts)
                self._database.execute("INSERT OR REPLACE INTO headers_1 VALUES (?,?,?,?,?,?,?,?)", header)
                if crops is not None:
                    known = self._database.execute(_KNOWN_FAULTS, (key, size, version)).fetchone()
                    merged = {tuple(fault[:2]): fault for fault in (*json.loads(known[0] if known else "[]"), *faults)}
                    row = (key, size, version, crops, json.dumps(list(merged.values())))
                    self._database.execute("INSERT OR REPLACE INTO decodes_1 VALUES (?,?,?,?,?)", row)

    def _select(self, query: str) -> Iterator[Seen]:
        try:
            for path, size, version, *facts, crops, faults in self._database.execute(query):
                found = tuple(tuple(fault) for fault in json.loads(faults)) if crops is not None else ()
                yield Seen(os.fsdecode(path), size, version, Facts(*facts), crops, found)
        except sqlite3.OperationalError as error:
            raise HiveError(f"what was verified cannot be read from {self._file}: {error}") from None
        except sqlite3.DatabaseError:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Begin with an empty file, since this one is damaged: what it held can be found out again."""
        self._database.close()
        self._file.unlink(missing_ok=True)
        self._database = _open(self._file)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def recall(root: str, only_faulty: bool = False) -> Iterator[Seen]:
    """What is known of the files of a root, or of the faulty ones; nothing if it was never verified."""
    if memory_file(root).exists():
        with contextlib.closing(Memory(root)) as memory:
            yield from memory.faulty() if only_faulty else memory


def memory_file(root: str) -> Path:
    """Where it is remembered."""
    return index_file(root).with_suffix(".sqlite")


def _open(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=60.0)
    try:
        # a commit survives the end of the process; a loss of power may cost the file, which can be made again
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_CREATE)
    except BaseException:
        database.close()
        raise
    return database
