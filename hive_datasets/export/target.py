"""The folder that mixtures are written to: what is there already, and that one process at a time writes there.

Beside the shards, a hidden folder has a record of each: of which recipes it was made, and what became of them. A shard
whose record fits is whole and needs not be made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from ..errors import HiveError, OutputError, describe
from ..utils.files import UNFINISHED, locked, remove_leftovers, written_aside
from .plan import PlannedShard

#: Hidden, so that whoever lists the shards does not see it.
STATE_FOLDER = ".hive-datasets"
_OPTIONS_FILE = "options.json"
#: Read at once.
_HASHED_BYTES = 1 << 20


@dataclass(frozen=True)
class ShardRecord:
    """What a shard was made of.

    Attributes:
        name: its path in the folder.
        recipes: a hash of its recipes and of how they are rendered.
        num_bytes: its size.
        mixtures: how many it holds.
        clipped_mixtures, clipped_samples: how many of them were beyond full scale, and how many of their samples.
        skipped: mix_id and reason of those that could not be rendered.
        content: a hash of its bytes; empty of shards of earlier versions.
    """

    name: str
    recipes: str
    num_bytes: int
    mixtures: int
    clipped_mixtures: int
    clipped_samples: int
    skipped: tuple[tuple[str, str], ...]
    content: str = ""


class Target:
    """The folder that mixtures are written to.

    Args:
        folder: where.
        options: how they are written, which is one for all of a folder.
    """

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder, self.options = folder, options

    def check(self) -> None:
        """Make sure that what is in the folder, if anything is, was written with the same options.

        Raises:
            OutputError: it holds something else.
        """
        options_file = self.folder / STATE_FOLDER / _OPTIONS_FILE
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file: choose another name for the folder")
        if not options_file.exists():
            others = [path.name for path in self.folder.iterdir() if path.name != STATE_FOLDER]
            if others:
                raise OutputError(f"{self.folder} holds other files ({_list(others)}): choose another folder")
            return
        try:
            there = dict(json.loads(options_file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise OutputError(f"{options_file} is damaged: choose another folder") from None
        if there != self.options:
            differing = [
                f"{name}={there.get(name)!r}, not {value!r}"
                for name, value in self.options.items()
                if there.get(name) != value
            ]
            raise OutputError(f"{self.folder} was written with {'; '.join(differing)}: choose another folder")

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Write into the folder, with no other process doing so.

        Raises:
            OutputError: it cannot be written, or another process is writing there.
        """
        state, is_new = self.folder / STATE_FOLDER, not self.folder.exists()
        try:
            with self._opened(state):
                yield
        finally:
            if is_new:
                with contextlib.suppress(OSError):  # it is not empty: something was written
                    self.folder.rmdir()

    @contextlib.contextmanager
    def _opened(self, state: Path) -> Iterator[None]:
        with locked(state / "lock", OutputError, f"writing into {self.folder}"):
            try:
                self.remove_unfinished()
                with written_aside(state / _OPTIONS_FILE) as aside:
                    aside.write_text(json.dumps(self.options, indent=1), encoding="utf-8")
                yield
            finally:
                self._remove_if_empty()

    def remove_unfinished(self) -> None:
        """Remove what processes that were killed have left."""
        places = ("*/*", f"{STATE_FOLDER}/*/*", STATE_FOLDER)
        for folder in [self.folder, *(folder for place in places for folder in self.folder.glob(place))]:
            if folder.is_dir():
                remove_leftovers(folder, is_alone=True)

    def _remove_if_empty(self) -> None:
        """Where no shard was written, leave nothing that would keep other options from being used."""
        folders = [path for path in self.folder.iterdir() if path.name != STATE_FOLDER]
        if not any(path.is_file() for folder in folders for path in [folder, *folder.rglob("*")]):
            for folder in [*folders, self.folder / STATE_FOLDER]:
                shutil.rmtree(folder, ignore_errors=True)

    def find(self, planned: PlannedShard) -> ShardRecord | None:
        """The record of a shard, if it is there, whole, and was made of these recipes."""
        record = self._read_record(planned.name)
        if record is None or record.recipes != planned.recipes:
            return None
        return record if size_of(self.folder / record.name) == record.num_bytes else None

    def is_intact(self, record: ShardRecord) -> bool:
        """Whether a shard has the bytes that were written; of one of an earlier version that is not known."""
        return bool(record.content) and hash_of(self.folder / record.name) == record.content

    def find_other(self, planned: PlannedShard) -> ShardRecord | None:
        """The record of a shard of that name, if it is there, and was made of other recipes."""
        record = self._read_record(planned.name)
        if record is None or record.recipes == planned.recipes or not size_of(self.folder / planned.name):
            return None
        return record

    def record(self, record: ShardRecord) -> None:
        """Write the record of a shard that is whole."""
        with written_aside(self._record_file(record.name), is_durable=True) as aside:
            aside.write_text(json.dumps(asdict(record), ensure_ascii=False), encoding="utf-8")

    def forget(self, name: str) -> None:
        """Remove the record of a shard that is about to be replaced."""
        self._record_file(name).unlink(missing_ok=True)

    def list_others(self, names: set[str]) -> list[str]:
        """The shards that were written before in the same folders, and are none of these."""
        folders = {name.rpartition("/")[0] for name in names}
        written = (
            str(file.relative_to(self.folder / STATE_FOLDER).with_suffix(""))
            for folder in folders
            for file in (self.folder / STATE_FOLDER / folder).glob("*.json")
        )
        return sorted(name for name in written if name not in names and (self.folder / name).exists())

    def records(self) -> Iterator[ShardRecord]:
        """Of all shards that are there."""
        state = self.folder / STATE_FOLDER
        for file in sorted(state.glob("*/*/*.json")):
            record = self._read_record(str(file.relative_to(state).with_suffix("")))
            if record is not None and (self.folder / record.name).exists():
                yield record

    def _read_record(self, name: str) -> ShardRecord | None:
        try:
            values = json.loads(self._record_file(name).read_text(encoding="utf-8"))
            return ShardRecord(**{**values, "skipped": tuple(map(tuple, values["skipped"]))})
        except (OSError, ValueError, TypeError, KeyError):  # none, or one of another version
            return None

    def _record_file(self, name: str) -> Path:
        return self.folder / STATE_FOLDER / f"{name}.json"


def parse_folder(folder: str | os.PathLike[str]) -> Path:
    """The path of a folder to write to.

    Raises:
        OutputError: it is a URL.
    """
    if "://" in os.fspath(folder):
        raise OutputError(f"{folder} is a URL: write to a local folder, and upload that")
    # "a/../b" would lead elsewhere once "a" is made
    return Path(folder).expanduser().resolve()


def check_empty(folder: Path) -> None:
    """Make sure that a folder is not there, or is empty.

    Raises:
        OutputError: it is not.
    """
    if folder.exists() and not (folder.is_dir() and all(map(_is_unfinished, folder.iterdir()))):
        raise OutputError(f"{folder} is there already, and not empty: remove it, or choose another name")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A path to make a folder at, which becomes `folder` at the end, or goes away after an error.

    A folder that is there, and empty, is filled at the end: it may be a mount point, or where the user is.

    Raises:
        OutputError: it is there and not empty, or cannot be written.
    """
    check_empty(folder)
    try:
        if not folder.exists():
            with written_aside(folder) as aside:
                yield aside
            return
        for left in folder.iterdir():  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=UNFINISHED, dir=folder) as scratch:
            yield Path(scratch) / "new"
            for path in sorted((Path(scratch) / "new").iterdir(), reverse=True):  # README.md after the data
                path.replace(folder / path.name)
    except HiveError:
        raise
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {describe(error)}") from None


def size_of(path: Path) -> int:
    """The bytes of a file, or of the files in a folder but hidden ones, which others leave; 0 if there is none."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir() if not file.name.startswith("."))
    return path.stat().st_size if path.exists() else 0


def hash_of(path: Path) -> str:
    """A hash of the bytes of a file, or of the files of a folder that `size_of` counts, and of their names."""
    digest = xxhash.xxh3_128()
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if not file.name.startswith("."))
    for file in files:
        if file != path:
            digest.update(f"{file.name}/{file.stat().st_size}/".encode("utf-8", "surrogateescape"))
        with file.open("rb") as stream:
            while block := stream.read(_HASHED_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(UNFINISHED)


def _list(names: list[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
