"""A corpus as it is published, whose archives can only be had whole: each is downloaded, gone through and removed."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import (
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    TruncatedSourceError,
    describe,
)
from ..utils.files import cache_folder, written_aside
from ..utils.progress import Progress, no_progress
from .contents import Content
from .corpora import Corpus
from .downloads import downloaded
from .index import Extent
from .packed import OnePassStorage, Wanted, find_py7zr, is_packed, read_wanted
from .published import Published, PublishedFile
from .video import find_av


class WholeStorage(OnePassStorage):
    """A root ``published://NAME`` of a corpus that can only be had whole.

    Args:
        root: the root.
        corpus: the corpus.
        published: where it is.

    Raises:
        SourceRootError: what reads its archives is not installed.
    """

    def __init__(self, root: str, corpus: Corpus | None, published: Published) -> None:
        super().__init__(root, corpus)
        self._published = published
        try:  # before hundreds of GB are downloaded
            if published.is_video:
                find_av()
            if any(file.name.endswith(".7z") for file in published.files):
                find_py7zr()
        except SourceFormatError as error:
            raise SourceRootError(f"{root}: {error.message}") from None
        #: Told how far downloads are.
        self.progress: Progress = no_progress

    def explain(self) -> str:
        """See `OnePassStorage`."""
        return (
            f"{self.root}: {self._published.corpus} is published in archives that can only be had whole: "
            "`hive-datasets prepare --from-published` and `hive-datasets fetch` go through them"
        )

    def read_in_order(self, wanted: Mapping[str, Extent | None]) -> Iterator[tuple[str, Content | SourceError]]:
        """See `SequentialStorage`; an archive of which it is known that it has nothing of it is not downloaded."""
        left = Wanted(wanted, self.root, self.corpus)
        problems: list[str] = []
        for file in self._published.files:
            members = self._recall(file)
            if not any(re.match(file.holds, path) for path in left) or (members is not None and not left.has(members)):
                continue
            try:
                with downloaded(self._published, file, self.progress) as archive:
                    if is_packed(file.name):
                        names: list[str] = []
                        yield from read_wanted(str(archive), left, problems, names)
                        self._remember(file, names)
                    else:
                        yield from _read_zip(archive, left)
            except SourceError as error:
                problems.append(error.message)
        reason = f": {problems[0]}" if problems else f": none of its {len(self._published.files)} archives has it"
        for path in left:
            yield path, SourceNotFoundError(f"it is not in {self._published.corpus} as it is published{reason}")

    def _recall(self, file: PublishedFile) -> list[str] | None:
        """The members of an archive that was gone through to its end; None if none was."""
        try:
            return self._members_file(file).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return None

    def _remember(self, file: PublishedFile, names: list[str]) -> None:
        if names:
            with written_aside(self._members_file(file)) as aside:
                aside.write_text("\n".join(names), encoding="utf-8", errors="surrogateescape")

    def _members_file(self, file: PublishedFile) -> Path:
        key = hashlib.sha256(repr((self._published.locate(file), file.bytes, file.md5)).encode()).hexdigest()[:24]
        return cache_folder("members") / f"{key}.txt"


def _read_zip(archive: Path, left: Wanted) -> Iterator[tuple[str, Content]]:
    """What a zip on disk has of what is wanted."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                path = None if member.is_dir() else left.find(member.filename)
                if path is not None:
                    yield path, left.take(path, member.filename, opened.read(member))
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise TruncatedSourceError(f"{archive} is damaged: {describe(error)}") from None
