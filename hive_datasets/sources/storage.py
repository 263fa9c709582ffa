"""What a root is: a folder, an archive or a remote folder; how each is listed and how its files are opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from filelock import FileLock

from ..errors import HiveError, SourceRootError, describe
from ..utils.files import cache_folder
from .archives import ARCHIVE_SUFFIXES, TarStorage, ZipStorage, explain_archive
from .folders import FolderStorage
from .index import Extent, Index, Scan, write_index
from .ranges import RangeFile
from .remote import RemoteStorage
from .roots import archive_protocol

#: Called with the number of files seen so far.
Progress = Callable[[int], None]


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


def open_storage(root: str) -> Storage:
    """The storage at a root: an existing folder or archive, or any fsspec URL.

    Raises:
        SourceRootError: there is nothing of that kind, or no permission.

    Example:
        >>> import hive_datasets
        >>> storage = open_storage(str(hive_datasets.demo_folder() / "sources" / "AudioSet"))
        >>> type(storage).__name__
        'FolderStorage'
    """
    protocol, inside, archive = _split_url(root)
    if protocol == "zip":
        return ZipStorage(root, archive, inside)
    if protocol == "tar":
        return TarStorage(root, archive, inside)
    if protocol is not None:
        return RemoteStorage(root)
    if os.path.isdir(root):
        return FolderStorage(root)
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
