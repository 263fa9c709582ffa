"""From a metadata path to something that can be opened: the user's roots, looked into."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ..errors import (
    AmbiguousSourceError,
    SourceError,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    VariantSourceWarning,
    describe,
)
from ..utils.progress import Progress, no_progress
from .archives import ZipStorage, is_archive_name
from .contents import Content
from .corpora import Corpus, find_corpus
from .folders import FolderStorage
from .index import Extent, Index
from .packed import OnePassStorage
from .published import SCHEME, find_published_root
from .ranges import RangeFile
from .remote import RemoteStorage
from .roots import Roots, find_roots, name_of_root
from .storage import SequentialStorage, Storage, is_archive, is_root, load_index, open_storage
from .variants import RULES, choose, cut_of, is_lossy, is_video
from .video import extract_audio
from .whole import WholeStorage

#: A root that lacks a file is looked into again, if that was last done longer ago than this many seconds.
RECHECK_SECONDS = 10.0
#: At most this share of the time goes into that: a root that files are being added to is listed anew each time.
RECHECK_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """A source file that was found.

    Attributes:
        path: the metadata path.
        location: the file or URL where it is.
        rules: the rules of `variants` by which it was found; none if it is where the metadata says.
        others: what else would fit, if less well.
        inside: its path relative to the root.
        content: what it holds, where that came together with others.
    """

    path: str
    location: str
    rules: tuple[str, ...]
    others: tuple[str, ...]
    inside: str
    _storage: Storage
    _extent: Extent | None
    content: Content | None = None

    @property
    def place(self) -> int:
        """Where in its root it lies: those beside each other are quick to read one after the other."""
        return self._extent.offset if self._extent else 0

    @property
    def num_bytes(self) -> int:
        """Its size in bytes, about; 0 if that is not known."""
        return max(0, self._extent.size) if self._extent else 0

    @property
    def has_checksum(self) -> bool:
        """Whether its archive has a checksum of it."""
        return isinstance(self._storage, ZipStorage)

    @property
    def is_lossy(self) -> bool:
        """Whether it is of a codec that keeps no samples, and what the metadata names is not; by their names."""
        return is_lossy(self.inside) and not is_lossy(self.path) and "cut" not in self.rules

    @property
    def is_sequential(self) -> bool:
        """Whether it can be had only together with others; see `read_in_order`."""
        return isinstance(self._storage, SequentialStorage) and self._storage.is_sequential(self._extent)

    def open(self) -> str | RangeFile | IO[bytes]:
        """What libsndfile can read: a local path, or a file object.

        Raises:
            SourceError: the file cannot be had.
        """
        content = self.content
        opened = self._storage.open(self.inside, self._extent) if content is None else io.BytesIO(content.data)
        if not is_video(self.inside if content is None else content.name):
            return opened
        return extract_audio(opened, cut_of(self.path) if "cut" in self.rules else None)

    def read(self) -> bytes:
        """All of it, as it is; of video, its audio as that of a WAV file.

        Raises:
            SourceError: the file cannot be had.
        """
        opened = self.open()
        if isinstance(opened, str):
            try:
                return Path(opened).read_bytes()
            except OSError as error:
                raise SourceError(describe(error)) from None
        data = opened.read()
        if isinstance(opened, RangeFile) and opened.error is not None:
            raise opened.error
        return data

    def compare(self, data: bytes) -> str:
        """What is wrong with what was read, by the checksum that its archive has; empty if nothing is known to be."""
        is_as_stored = self.has_checksum and not is_video(self.inside)
        if is_as_stored and self._extent is not None and zlib.crc32(data) != self._extent.version:
            return "its CRC-32 is not what the archive's directory says"
        return ""

    def identity(self) -> tuple[int, int] | None:
        """Size in bytes, and a number that changes when the contents do; None where nothing tells.

        Raises:
            OSError: it cannot be asked for.
        """
        return self._storage.identify(self.inside, self._extent)


def read_in_order(sources: Iterable[LocatedSource]) -> Iterator[LocatedSource | tuple[LocatedSource, SourceError]]:
    """Sequential sources with their contents, each once, in the order that is quick; one that cannot be had with why.

    Raises:
        SourceUnreachableError: a server cannot be reached.
    """
    by_storage: dict[int, tuple[Storage, dict[str, list[LocatedSource]]]] = {}
    for source in sources:
        _, wanted = by_storage.setdefault(id(source._storage), (source._storage, {}))
        wanted.setdefault(source.inside, []).append(source)
    for storage, wanted in by_storage.values():
        assert isinstance(storage, SequentialStorage)
        extents = {inside: each[0]._extent for inside, each in wanted.items()}
        for inside, content in storage.read_in_order(extents):
            for source in wanted[inside]:
                if isinstance(content, SourceError):
                    yield source, content
                else:
                    yield replace(source, content=content, rules=content.rules or source.rules)


class OpenRoot:
    """One root and its index, which is loaded when it is first needed."""

    def __init__(self, root: str, corpus: Corpus | None = None, or_sequential: bool = False) -> None:
        self.storage = open_storage(root, corpus, or_sequential)
        self._index: Index | None = None
        #: When the index was last compared with the root, and how long that took, in seconds.
        self._checked = self._duration = 0.0

    def index(self, progress: Callable[[int], None] = lambda files: None, rescan: bool = False) -> Index:
        """The index, made if there is none; with `rescan`, in any case.

        Raises:
            SourceRootError: the root cannot be listed.
        """
        if self._index is None or rescan:
            start = time.monotonic()
            self._index = load_index(self.storage, progress, rescan)
            self._checked = time.monotonic()
            self._duration = self._checked - start
        return self._index

    def identify(self, inside: str) -> tuple[int, int] | None:
        """The size and version of a file, by its path relative to the root; None if they cannot be had."""
        row = self.index().find(inside)
        try:
            return self.storage.identify(inside, _extent(self.index(), row)) if row >= 0 else None
        except OSError:
            return None

    def refresh(self) -> bool:
        """Look whether the root has changed, unless that was done a moment ago; whether the index is another one."""
        before = self._index
        if time.monotonic() - self._checked > max(RECHECK_SECONDS, self._duration / RECHECK_SHARE):
            self._index = None
        return self.index() is not before


class Catalogue:
    """All roots of a configuration.

    A file is sought where the metadata says (in an archive, also below the corpus' own name), and then among the known
    variants of its path. Files that are where they should be in a local folder need no index.

    Args:
        roots: the configuration.
        or_sequential: whether a root may be one that can only be read in one pass, by `read_in_order`.
        progress: told how far it is when archives are downloaded whole.

    Example:
        >>> import hive_datasets
        >>> from hive_datasets.sources import parse_roots
        >>> catalogue = Catalogue(parse_roots(hive_datasets.demo_folder() / "sources"))
        >>> catalogue.locate("AudioSet/audioset_data/audio/unbal_train/nothing.flac")
        Traceback (most recent call last):
        hive_datasets.errors.SourceNotFoundError: there is no such file, nor a known variant of it
    """

    def __init__(self, roots: Roots, or_sequential: bool = False, progress: Progress = no_progress) -> None:
        self.roots = roots
        self._or_sequential, self._progress = or_sequential, progress
        self._opened: dict[str, OpenRoot] = {}
        #: When a root could last not be opened or listed, and why: a dead server must not be asked for every path.
        self._failed: dict[str, tuple[float, SourceRootError | SourceUnreachableError]] = {}
        self._warned: set[tuple[str, tuple[str, ...]]] = set()

    def locate(self, path: str) -> LocatedSource:
        """Find the file that a metadata path stands for.

        Raises:
            SourceRootError: no root fits, or several do, or it cannot be opened.
            AmbiguousSourceError: it is not where it should be, and several files fit equally well.
            SourceNotFoundError: there is none; the message tells what was found instead, if anything.
            SourceUnreachableError: its server cannot be reached.
        """
        opened, rest = self.open_root(path)
        storage = opened.storage
        location = storage.locate(rest)
        if isinstance(storage, FolderStorage) and os.path.isfile(location):
            return LocatedSource(path, location, (), (), rest, storage, None)
        try:
            return self.look_up(path, opened, rest)
        except SourceNotFoundError:
            if not opened.refresh():
                raise
            return self.look_up(path, opened, rest)

    def look_up(self, path: str, opened: OpenRoot, rest: str) -> LocatedSource:
        """As `locate`, by the index alone."""
        storage, first = opened.storage, path.partition("/")[0]
        if isinstance(storage, OnePassStorage):  # of which nothing is known yet
            return LocatedSource(path, storage.locate(rest), (), (), rest, storage, None)
        index = self._index(opened)
        for inside in storage.names(path):
            row = index.find(inside)
            if row >= 0:
                return LocatedSource(path, storage.locate(inside), (), (), inside, storage, _extent(index, row))
        if isinstance(storage, RemoteStorage) and not len(index):
            with self._failing_once(storage.root, of_one_file=True):
                asked = _ask(storage, rest)
            return LocatedSource(path, storage.locate(rest), (), (), rest, storage, asked)
        candidates = index.candidates(os.path.basename(rest))
        choice = choose(rest, candidates, _path_of_root(storage.root), find_corpus(first))
        if choice is None:
            raise SourceNotFoundError(_explain_absence(index, storage, rest, candidates))
        if len(choice.candidates) > 1:
            found = ", ".join(storage.locate(candidate) for candidate in choice.candidates)
            raise AmbiguousSourceError(f"several files fit equally well ({describe_rules(choice.rules)}): {found}")
        inside = choice.candidates[0]
        others = tuple(map(storage.locate, choice.others))
        extent = _extent(index, index.find(inside))
        return LocatedSource(path, storage.locate(inside), choice.rules, others, inside, storage, extent)

    def open_root(self, path: str) -> tuple[OpenRoot, str]:
        """The root of a metadata path, opened, and the path below it.

        Raises:
            SourceRootError: no root fits, or several do, or it cannot be opened.
        """
        root, rest = self.roots.match(path)
        if root.startswith(SCHEME):
            root = find_published_root(root, rest)
        opened = self._opened.get(root)
        if opened is None:
            with self._failing_once(root):
                first = path.partition("/")[0]
                opened = OpenRoot(self._find_in_parent(root, first), find_corpus(first), self._or_sequential)
            self._opened[root] = opened
            if isinstance(opened.storage, WholeStorage):
                opened.storage.progress = self._progress
        return opened, rest

    def _index(self, opened: OpenRoot) -> Index:
        with self._failing_once(opened.storage.root):
            return opened.index()

    @contextlib.contextmanager
    def _failing_once(self, root: str, of_one_file: bool = False) -> Iterator[None]:
        """Raise at once what was raised for this root a moment ago, unless it was an answer about one file."""
        when, failure = self._failed.get(root, (0.0, None))
        if failure is not None and time.monotonic() - when < RECHECK_SECONDS:
            # a new one: each raising of the same would lengthen its traceback
            if isinstance(failure, SourceRootError):
                raise SourceRootError(failure.message, several=failure.several)
            raise SourceUnreachableError(failure.message)
        try:
            yield
        except (SourceRootError, SourceUnreachableError) as error:
            if not (of_one_file and isinstance(error, SourceUnreachableError) and error.status):
                self._failed[root] = (time.monotonic(), error)
            raise

    def warn(self, source: LocatedSource) -> None:
        """Say, once a corpus and set of rules, that files bear other names than the metadata's."""
        key = (source.path.partition("/")[0], source.rules)
        if source.rules and key not in self._warned:
            self._warned.add(key)
            warnings.warn(
                f"files of {key[0]} are found {describe_rules(source.rules)}: {source.location} for {source.path!r}. "
                "hive-verify-sources lists them all",
                VariantSourceWarning,
                stacklevel=2,
            )

    def _find_in_parent(self, root: str, first: str) -> str:
        """In a folder that holds all corpora, one may be packed, or go by another of its names."""
        parent = self.roots.parent
        if parent is None or "://" in parent or not os.path.isdir(parent) or _has_entries(root):
            return root
        found = list_named(parent, first)
        usable = [path for path in found if is_root(path)]
        if not found:
            found = usable = self._find_below(parent, first)
        if len(usable) > 1:
            names = ", ".join(os.path.relpath(path, parent) for path in usable)
            message = f"several source roots in {parent} fit {first!r}: {names}. Keep one of them."
            raise SourceRootError(message, several=True)
        return (usable or found or [root])[0]

    def _find_below(self, parent: str, first: str) -> list[str]:
        """A corpus in a folder below the one that should hold all corpora: the root is one too high."""
        try:
            names = sorted(os.listdir(parent))
        except OSError:
            return []
        if any(find_corpus(name_of_root(name)) for name in names):  # it does hold corpora, and this one is not there
            return []
        folders = [path for name in names if os.path.isdir(path := f"{parent}/{name}")]
        found = [path for folder in folders for path in list_named(folder, first)]
        usable = [path for path in found if is_root(path)]
        if len(usable) == 1 and ("", (parent,)) not in self._warned:
            self._warned.add(("", (parent,)))
            message = f"the root is one too high: the corpora are in {os.path.dirname(usable[0])}, not in {parent}"
            warnings.warn(message, VariantSourceWarning, stacklevel=2)
        return usable


def open_catalogue(roots: Roots | None = None) -> Catalogue:
    """The catalogue of the roots in force (see `find_roots`), the same for as long as they do not change."""
    return _open_catalogue(find_roots(roots))


@functools.lru_cache(maxsize=16)
def _open_catalogue(roots: Roots) -> Catalogue:
    return Catalogue(roots)


def describe_rules(rules: Iterable[str]) -> str:
    """Rules in words."""
    return " and ".join(RULES[rule] for rule in rules)


def list_named(folder: str, component: str) -> list[str]:
    """What bears one of a corpus' names in a folder: folders that are not empty, and archives, of whatever kind."""
    corpus = find_corpus(component)

    def fits(name: str) -> bool:
        stem = name_of_root(name)
        return stem.casefold() == component.casefold() or (corpus is not None and find_corpus(stem) == corpus)

    try:
        names = sorted(os.listdir(folder))
    except OSError:  # it may be entered, but not listed
        return []
    paths = [f"{folder}/{name}" for name in names if fits(name)]
    return [path for path in paths if _has_entries(path) or _is_packed(path)]


def _is_packed(path: str) -> bool:
    """Whether it is a file that may hold a corpus, by its name."""
    return os.path.isfile(path) and (is_archive_name(path) or is_root(path))


def _has_entries(path: str) -> bool:
    """Whether it is a folder, and not empty; True too if it cannot be looked into."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except PermissionError:
        return True
    except OSError:
        return False


def _path_of_root(root: str) -> str:
    """The folders that lead to a root's files, for telling whether it is a folder inside the corpus."""
    head, chained, _ = root.partition("::")
    return head.partition("://")[2] if chained else os.path.splitext(root)[0] if is_archive(root) else root


def _extent(index: Index, row: int) -> Extent | None:
    return index.extent(row) if index.has_extents else None


def _ask(storage: RemoteStorage, rest: str) -> Extent:
    """The extent of a file of a server that lists nothing."""
    try:
        return storage.ask(rest)
    except SourceNotFoundError:
        message = f"there is no such file; no file is listed in {storage.root}, so its variants cannot be sought"
        raise SourceNotFoundError(message) from None


def _explain_absence(index: Index, storage: Storage, rest: str, candidates: list[str]) -> str:
    if isinstance(storage, FolderStorage) and os.path.isdir(storage.locate(rest)):
        return "it is a folder, not a file"
    message = "there is no such file, nor a known variant of it"
    if not len(index):
        message = f"there is no such file, nor any other in {storage.root}"
    elif candidates:
        message += f"; {storage.locate(candidates[0])} has a similar name, but no rule of this corpus leads to it"
    if index.problems:
        message += f"; {len(index.problems)} places could not be looked into, such as: {index.problems[0]}"
    return message
