"""A root that is a folder on disk."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import SourceRootError
from .index import Extent, Index, Scan, is_settled
from .ranges import describe


class FolderStorage:
    """A folder. Links are followed, wherever they lead, but no link back to a folder that it lies in.

    What is current is told by the times of its folders: one changes when a file comes, goes or is renamed.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`."""
        scan = Scan()
        #: (folder, the folders above it as (device, inode), to which no link may lead back)
        pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
        stamps: list[tuple[str, list[int] | None]] = []
        while pending:
            folder, above = pending.pop()
            try:
                status = os.stat(self.locate(folder))
                inode = (status.st_dev, status.st_ino)
                if inode in above:
                    scan.add_problem(f"{self.locate(folder)} is a link to a folder that it lies in; not followed")
                    continue
                with os.scandir(self.locate(folder)) as entries:
                    for entry in entries:
                        kind = _kind_of(entry, scan)
                        if kind == "folder":
                            pending.append((os.path.join(folder, entry.name), above | {inode}))
                        elif kind == "file":
                            scan.add(folder, entry.name)
            except OSError as error:
                if not folder:
                    raise SourceRootError(f"{self.root}: it cannot be listed: {describe(error)}") from None
                scan.add_problem(f"{self.locate(folder)} cannot be listed: {describe(error)}")
                stamps.append((folder, None))
                continue
            # where a folder was changed a moment ago, nothing is taken for granted the next time
            stamps.append((folder, _stamp(status) if is_settled(status.st_mtime, scan.started) else None))
            progress(len(scan))
        scan.fingerprint = stamps
        return scan

    def is_current(self, index: Index) -> bool:
        """See `Storage`."""
        try:
            return all(stamp == _stamp(os.stat(self.locate(folder))) for folder, stamp in index.fingerprint)
        except OSError:
            return False

    def locate(self, path: str) -> str:
        """See `Storage`."""
        return os.path.join(self.root, path)

    def open(self, path: str, extent: Extent | None) -> str:
        """See `Storage`."""
        return self.locate(path)


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_mtime_ns, status.st_dev, status.st_ino]


def _kind_of(entry: os.DirEntry[str], scan: Scan) -> str | None:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else None
    except OSError as error:  # a link to itself, say
        scan.add_problem(f"{entry.path}: {describe(error)}")
        return None
