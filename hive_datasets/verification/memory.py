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
        file = memory_file(root)
        try:
            self._database = _open(file)
        except sqlite3.OperationalError as error:
            raise HiveError(f"what was verified cannot be kept in {file}: {error}") from None
        except sqlite3.DatabaseError:  # damaged: what it held can be found out again
            file.unlink()
            self._database = _open(file)

    def __iter__(self) -> Iterator[Seen]:
        """Everything."""
        for path, size, version, *facts, crops, faults in self._database.execute(_SELECT):
            found = tuple(tuple(fault) for fault in json.loads(faults)) if crops is not None else ()
            yield Seen(os.fsdecode(path), size, version, Facts(*facts), crops, found)

    def keep(self, seen: Iterable[Seen]) -> None:
        """Remember."""
        headers, decodes = [], []
        for path, size, version, facts, crops, faults in seen:
            headers.append((os.fsencode(path), size, version, *facts))
            if crops is not None:
                decodes.append((os.fsencode(path), size, version, crops, json.dumps(faults)))
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO headers_1 VALUES (?,?,?,?,?,?,?,?)", headers)
            self._database.executemany("INSERT OR REPLACE INTO decodes_1 VALUES (?,?,?,?,?)", decodes)

    def count_faulty(self) -> int:
        """How many files were found to be faulty."""
        query = "SELECT path FROM headers_1 WHERE status != 'ok' UNION SELECT path FROM decodes_1 WHERE faults != '[]'"
        return int(self._database.execute(f"SELECT COUNT(*) FROM ({query})").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def recall(root: str) -> Iterator[Seen]:
    """What is known of the files of a root; nothing if it was never verified."""
    if memory_file(root).exists():
        with contextlib.closing(Memory(root)) as memory:
            yield from memory


def count_faulty(root: str) -> int:
    """How many files of a root were found to be faulty."""
    if not memory_file(root).exists():
        return 0
    with contextlib.closing(Memory(root)) as memory:
        return memory.count_faulty()


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
