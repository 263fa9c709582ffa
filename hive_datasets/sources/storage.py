"""What a root is: a folder, an archive or a remote folder; how each is listed and how its files are opened."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Protocol, runtime_checkable
from urllib.parse import unquote

from filelock import FileLock

from ..errors import HiveError, SourceError, SourceNotFoundError, SourceRootError, SourceUnreachableError, describe
from ..utils.files import cache_folder
from .archives import ARCHIVE_SUFFIXES, TarStorage, ZipStorage, explain_archive
from .contents import Content
from .corpora import Corpus
from .folders import FolderStorage
from .index import Extent, Index, Scan, write_index
from .packed import PackedStorage, is_packed
from .parquet import SUFFIX as PARQUET_SUFFIX
from .parquet import ParquetStorage, holds_audio, is_parquet
from .published import SCHEME, find_published
from .ranges import RangeFile
from .remote import RemoteStorage, list_folder
from .roots import archive_protocol
from .servers import ask
from .variants import is_audio
from .whole import WholeStorage

#: Called with the number of files seen so far.
Progress = Callable[[int], None]
#: How deep in a folder parquet is sought, and how many entries of each are looked at.
_DEPTH, _ENTRIES = 4, 1000
#: Files that a repository has above its parquet.
_BESIDE_PARQUET = (".md", ".txt", ".json", ".yaml", ".csv", ".py", "LICENSE")


class Storage(Protocol):
    """A root that can be listed and whose files can be opened."""

    root: str

    def scan(self, progress: Progress) -> Scan:
        """List every file, once."""
        ...

    def is_current(self, index: Index) -> bool:
        """Whether an index of this root still tells what is in it."""
        ...

    def names(self, path: str) -> tuple[str, ...]:
        """Where a metadata path may be: paths relative to the root, in the order in which they are tried."""
        ...

    def locate(self, path: str) -> str:
        """The path or URL, for people and for the log, of a path relative to the root."""
        ...

    def open(self, path: str, extent: Extent | None) -> str | RangeFile | IO[bytes]:
        """What libsndfile can read: a path, or an open file."""
        ...

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int] | None:
        """A file's size, and a number that changes with its contents; None where nothing tells.

        Raises:
            OSError: it cannot be had.
        """
        ...


@runtime_checkable
class SequentialStorage(Protocol):
    """A root of which some files can be had only together with many others, so that they are slow to read at random."""

    def is_sequential(self, extent: Extent | None) -> bool:
        """Whether a file is one of them."""
        ...

    def read_in_order(self, wanted: Mapping[str, Extent | None]) -> Iterator[tuple[str, Content | SourceError]]:
        """Those that are wanted, by their paths relative to the root, each once, in the order that is quick."""
        ...


def open_storage(root: str, corpus: Corpus | None = None, or_sequential: bool = False) -> Storage:
    """The storage at a root: an existing folder or archive, a file or folder of parquet, or any fsspec URL.

    Args:
        root: the root.
        corpus: which is in it.
        or_sequential: whether it may be one that can only be read in one pass.

    Raises:
        SourceRootError: there is nothing of that kind, or no permission.

    Example:
        >>> import hive_datasets
        >>> storage = open_storage(str(hive_datasets.demo_folder() / "sources" / "AudioSet"))
        >>> type(storage).__name__
        'FolderStorage'
    """
    if root.startswith(SCHEME):
        return _open_published(root, corpus, or_sequential)
    protocol, inside, archive = _split_url(root)
    if or_sequential and _is_packed(root):
        return PackedStorage(root, corpus)
    if protocol == "zip":
        return ZipStorage(root, archive, inside)
    if protocol == "tar":
        return TarStorage(root, archive, inside)
    if root.partition("?")[0].endswith(PARQUET_SUFFIX) and (protocol is not None or os.path.isfile(root)):
        return ParquetStorage(root, corpus)
    if protocol is not None:
        return ParquetStorage(root, corpus) if _find_parquet(root, _list_remote) else RemoteStorage(root)
    if os.path.isdir(root):
        return ParquetStorage(root, corpus) if _find_parquet(root, _list_local) else FolderStorage(root)
    problem = "there is no such folder or archive" if not os.path.lexists(root) else explain_archive(root)
    raise SourceRootError(f"{root}: {problem}")


def is_archive(root: str) -> bool:
    """Whether a root is, by its name, an archive, whose members may be below the corpus' own name."""
    return _split_url(root)[0] in ARCHIVE_SUFFIXES.values()


def _split_url(root: str) -> tuple[str | None, str, str]:
    """Protocol (None for a folder), path inside an archive, and the archive."""
    head, chained, rest = root.partition("::")
    protocol, separated, inside = head.partition("://")
    if chained and protocol in ARCHIVE_SUFFIXES.values():
        return protocol, inside.strip("/"), rest
    packed = archive_protocol(root)
    if packed and ("://" in root or os.path.isfile(root)):
        return packed, "", root
    return (protocol if separated else None), "", ""


def is_root(path: str) -> bool:
    """Whether a path on disk is, by its kind and name, one that can be read in place."""
    return os.path.isdir(path) or is_archive(path) or path.endswith(PARQUET_SUFFIX)


def _open_published(root: str, corpus: Corpus | None, or_sequential: bool) -> Storage:
    """What is had whole; see `find_published_root` for the rest."""
    published = find_published(root.removeprefix(SCHEME))
    if published is None or not published.is_whole:
        raise SourceRootError(f"{root}: it is not known how this corpus is published")
    storage = WholeStorage(root, corpus, published)
    if not or_sequential:
        raise SourceRootError(storage.explain())
    return storage


def _is_packed(root: str) -> bool:
    """Whether it is, or holds nothing but, what can only be read in one pass."""
    if not os.path.isdir(root):
        return is_packed(root) and ("://" in root or os.path.isfile(root))
    folders, files = _list_local(root)
    is_flat = not any(not name.startswith(".") for name in folders)
    return is_flat and any(map(is_packed, files)) and not any(map(is_audio, files))


def _find_parquet(root: str, list_folder: Callable[[str], tuple[list[str], list[str]]]) -> bool:
    """Whether a folder holds parquet with audio in it, by what is in it and in the first of its folders."""
    place = root.rstrip("/")
    for _ in range(_DEPTH):
        folders, files = list_folder(place)
        if is_parquet(files):
            return any(holds_audio(f"{place}/{name}") for name in files if name.endswith(PARQUET_SUFFIX))
        if files and not all(name.startswith(".") or name.endswith(_BESIDE_PARQUET) for name in files):
            return False
        # of a repository, "data" goes before what else there may be
        folders = [name for name in folders if not name.startswith(".")]
        if not folders:
            return False
        place += f"/{'data' if 'data' in folders else min(folders)}"
    return False


def _list_local(folder: str) -> tuple[list[str], list[str]]:
    """Folders and files of a folder, of many only the first: enough to tell what it is."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _ENTRIES):
                (folders if entry.is_dir() else files).append(entry.name)
    except OSError:
        pass
    return folders, files


def _list_remote(folder: str) -> tuple[list[str], list[str]]:
    try:
        entries = ask(folder, list_folder)
    except (SourceNotFoundError, SourceUnreachableError):  # which is told when it is listed
        return [], []
    names: dict[bool, list[str]] = {True: [], False: []}
    for entry in entries:
        name = entry["name"].rstrip("/")
        if name.startswith(folder.partition("://")[0]) and not name.startswith(folder):
            continue  # of a page of links, those that lead elsewhere
        names[entry["type"] == "directory"].append(unquote(name.rpartition("/")[2]))
    return names[True], names[False]


def load_index(storage: Storage, progress: Progress = lambda files: None, rescan: bool = False) -> Index:
    """The index of a root: the saved one while it is current, else a new one.

    Processes that need the same index at once wait for the one that makes it.

    Raises:
        SourceRootError: the root cannot be listed.
    """
    file = index_file(storage.root)
    try:
        with FileLock(f"{file}.lock"):
            index = None if rescan else _read(file)
            kind = type(storage).__name__
            if index is None or index.kind != kind or not storage.is_current(index):
                scan = storage.scan(progress)
                scan.kind = kind
                write_index(scan, file)
                index = Index(file)
    except HiveError:
        raise
    except OSError as error:
        message = f"the index of {storage.root} cannot be written to {file}: {describe(error)}"
        raise HiveError(f"{message}. Set HF_HOME to a folder that can.") from None
    return index


def index_file(root: str) -> Path:
    """Where the index of a root is saved, in the user's cache."""
    name = hashlib.sha256(root.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_folder("indexes") / f"{name}.arrow"


def _read(file: Path) -> Index | None:
    try:
        return Index(file)
    except Exception:  # none, of another layout, or damaged, which leads to errors of any kind
        return None
