"""The folder that is prepared into: its shards, their index, and that one process at a time writes there."""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import HiveError, PreparedSourcesError, PreparedSourcesWarning, describe
from ..prepared import PreparedSources
from ..prepared.index import NAME, ClipIndex, write_index
from ..prepared.samples import SampleType
from ..prepared.shards import DamagedShardError, PreparedClip, Shard, read_shard, write_shard
from ..utils.files import locked, remove_leftovers, written_aside


class Target:
    """The folder that is prepared into."""

    def __init__(self, folder: Path, sampling_rate: int, sample_type: SampleType) -> None:
        self.folder, self.sampling_rate, self.sample_type = folder, sampling_rate, sample_type
        self.shards: list[Shard] = []
        self.index: ClipIndex

    @contextlib.contextmanager
    def opened(self, dry_run: bool) -> Iterator[None]:
        """Look at what is there, with no other process writing; of a dry run, change nothing."""
        if not dry_run:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise PreparedSourcesError(f"{self.folder} cannot be made: {describe(error)}") from None
        with contextlib.nullcontext() if dry_run else self._locked(), tempfile.TemporaryDirectory() as scratch:
            self._load(set_aside=not dry_run)
            # not in the folder: what is there may not be all that the next who opens it expects
            self._index(Path(scratch) / NAME)
            yield

    def add(self, clips: Iterable[PreparedClip], sample_type: SampleType) -> int:
        """Write clips as a new shard, if there are any; returns how many."""
        first = next(clips := iter(clips), None)
        if first is None:
            return 0
        file = self.folder / f"shard-{self._next_number():05d}.arrow"
        try:
            with written_aside(file, is_durable=True) as aside:
                every = itertools.chain([first], clips)
                count = write_shard(every, aside, self.sampling_rate, self.sample_type, sample_type)
        except HiveError:
            raise
        except OSError as error:
            message = f"{file} cannot be written: {describe(error)}. The shards that were finished are kept"
            raise PreparedSourcesError(f"{message}: see to it, and run it again to go on.") from None
        self.shards.append(read_shard(file, self.sampling_rate, self.sample_type))
        return count

    def prepared(self) -> PreparedSources:
        """What is there, opened."""
        return PreparedSources(self.folder, self._index_file)

    def update_index(self) -> None:
        """Write the index of all shards."""
        self._index(self.folder / NAME)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / ".lock", PreparedSourcesError, f"preparing into {self.folder}"):
            remove_leftovers(self.folder, is_alone=True)
            yield

    def _load(self, set_aside: bool) -> None:
        for file in sorted(self.folder.glob("shard-*.arrow"), key=_number_of):
            if _number_of(file) < 0:  # somebody else's
                continue
            try:
                self.shards.append(read_shard(file, self.sampling_rate, self.sample_type))
            except DamagedShardError as error:
                kept = ""
                if set_aside:
                    aside = file.with_name(f"{file.name}.damaged")
                    file.replace(aside)
                    kept = f"; it was renamed to {aside.name}, which can be deleted"
                message = f"{error}. Its clips are prepared again{kept}."
                warnings.warn(message, PreparedSourcesWarning, stacklevel=2)

    def _index(self, file: Path) -> None:
        write_index(self.shards, file, self.sampling_rate, self.sample_type)
        self.index = ClipIndex(file)
        self._index_file = file

    def _next_number(self) -> int:
        return max(map(_number_of, self.folder.glob("shard-*")), default=-1) + 1


def _number_of(file: Path) -> int:
    """The number of a shard, by its name; -1 of other files."""
    found = re.fullmatch(r"shard-(\d+)\.arrow(\.damaged)?", file.name)
    return int(found[1]) if found else -1
