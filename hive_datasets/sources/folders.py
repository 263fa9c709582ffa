"""A root that is a folder on disk."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import SourceRootError, describe
from .archives import is_archive_name
from .index import Extent, Index, Scan

#: A folder changed so shortly before its scan may change again without a newer time of modification.
_RACE_SECONDS = 2.0


class FolderStorage:
    """A folder. Links are followed, wherever they lead, but no link back to a folder that it lies in.

    What is current is told by the times of its folders: one changes when a file comes, goes or is renamed.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`."""
        scan = Scan()
        scan.fingerprint = []
        #: (folder, the folders above it as (device, inode), to which no link may lead back)
        pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
        while pending:
            folder, above = pending.pop()
            location = self.locate(folder)
            try:
                status = os.stat(location)
                inode = (status.st_dev, status.st_ino)
                if inode in above:
                    scan.add_problem(f"{location} is a link to a folder that it lies in; not followed")
                    continue
                # where a folder was changed a moment ago, nothing is taken for granted the next time
                scan.fingerprint.append([folder, _stamp(status) if _is_settled(status, scan.started) else None])
                with os.scandir(location) as entries:
                    for entry in entries:
                        kind = _kind_of(entry)
                        if kind == "folder":
                            pending.append((os.path.join(folder, entry.name), above | {inode}))
                        elif kind == "file":
                            scan.add(folder, entry.name)
                            if is_archive_name(entry.name):
                                scan.add_problem(f"{entry.path} is an archive: make it the root, or unpack it")
                        elif kind == "broken link":  # whose target may come without a change of the folder
                            scan.fingerprint[-1][1] = None
                            scan.add_problem(f"{entry.path} is a link that leads nowhere")
            except OSError as error:
                if not folder:
                    raise SourceRootError(f"{self.root}: it cannot be listed: {describe(error)}") from None
                scan.add_problem(f"{location} cannot be listed: {describe(error)}")
                if scan.fingerprint[-1][0] == folder and not isinstance(error, PermissionError):
                    scan.fingerprint[-1][1] = None  # it may be able to be the next time
            progress(len(scan))
        return scan

    def is_current(self, index: Index) -> bool:
        """See `Storage`."""
        try:
            return all(stamp == _stamp(os.stat(self.locate(folder))) for folder, stamp in index.fingerprint)
        except OSError:
            return False

    def names(self, path: str) -> tuple[str, ...]:
        """See `Storage`."""
        return (path.partition("/")[2],)

    def locate(self, path: str) -> str:
        """See `Storage`."""
        return f"{self.root}/{path}" if path else self.root

    def open(self, path: str, extent: Extent | None) -> str:
        """See `Storage`."""
        return self.locate(path)

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int]:
        """See `Storage`."""
        status = os.stat(self.locate(path))
        return status.st_size, status.st_mtime_ns


def _stamp(status: os.stat_result) -> list[int]:
    # the time of the last change of permissions, too: a folder that could not be listed may be open now
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino]


def _is_settled(status: os.stat_result, scanned: float) -> bool:
    """Whether a folder was last changed so long before a scan that any later change shows in its times."""
    return scanned - status.st_mtime > _RACE_SECONDS


def _kind_of(entry: os.DirEntry[str]) -> str | None:
    """What an entry is, or what it leads to: "folder", "file", "broken link", or nothing that holds audio."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "broken link" if entry.is_symlink() else None
    except OSError:  # it leads to itself, or through a folder that is closed
        return "broken link"
