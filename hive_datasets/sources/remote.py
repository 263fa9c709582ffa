"""A root that is a folder behind any fsspec URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from ..errors import SourceNotFoundError, SourceRootError, SourceUnreachableError
from .index import Extent, Index, Scan
from .ranges import RangeFile, RemoteBytes, open_bytes, version_of
from .servers import ask, open_filesystem

#: How long a listing of a remote folder is trusted, in seconds.
LISTING_SECONDS = 24 * 3600.0
#: What servers of the web answer that serve files, but no listings.
_LISTS_NOTHING = frozenset({401, 403, 405})


class RemoteStorage:
    """A remote folder, listed at once and read by range.

    Its listing is kept for a day: to find out whether it has changed costs as much as to make it anew.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`."""
        folder = open_filesystem(self.root)[1]
        scan = Scan()
        files = {}
        try:
            files = self._walk(folder) if self._is_http else ask(self.root, _list)
        except SourceNotFoundError:
            if not self._is_http:
                raise SourceRootError(f"{self.root}: there is no such folder") from None
        except SourceUnreachableError as error:
            # a server that lists nothing, as many on the web, is asked again each time
            if not (self._is_http and error.status in _LISTS_NOTHING):
                error.message = f"{self.root} cannot be listed: {error.message}"
                raise
        prefix = folder.rstrip("/") + "/"
        for path, info in files.items():
            inside, _, name = self._unquote(path.removeprefix(prefix)).rpartition("/")
            if path.startswith(prefix):
                size = info.get("size")
                size = -1 if size is None else size
                scan.add(inside, name, Extent(0, size, size, version=version_of(info)))
        if not files:
            scan.started = 0.0
        progress(len(scan))
        return scan

    def is_current(self, index: Index) -> bool:
        """See `Storage`."""
        return time.time() - index.created < LISTING_SECONDS

    def names(self, path: str) -> tuple[str, ...]:
        """See `Storage`."""
        return (path.partition("/")[2],)

    def locate(self, path: str) -> str:
        """See `Storage`."""
        return f"{self.root}/{quote(path) if self._is_http else path}"

    def open(self, path: str, extent: Extent | None) -> RangeFile:
        """See `Storage`; a file whose size no listing tells is asked for it."""
        location = self.locate(path)
        if extent is None or extent.size < 0:
            return RangeFile(open_bytes(location))
        return RangeFile(RemoteBytes(location, extent.size, extent.version))

    def identify(self, path: str, extent: Extent | None) -> tuple[int, int] | None:
        """See `Storage`."""
        if extent is None or extent.size < 0:
            extent = self.ask(path)
        return (extent.size, extent.version) if extent.version else None

    def ask(self, path: str) -> Extent:
        """What the server says of one file: for servers that list nothing, as many on the web.

        Raises:
            SourceError: there is no such file, or it cannot be had.
            SourceUnreachableError: the server cannot be reached.
        """
        found = open_bytes(self.locate(path))
        return Extent(0, found.size, found.size, version=found.version)

    def _walk(self, folder: str) -> dict[str, dict[str, Any]]:
        """All files, folder by folder: each may be asked for again without the others."""
        files: dict[str, dict[str, Any]] = {}
        seen, pending = {folder.rstrip("/")}, [folder]
        while pending:
            place = pending.pop()
            try:
                entries = ask(place, _list_folder)
            except (SourceNotFoundError, SourceUnreachableError) as error:
                is_closed = isinstance(error, SourceNotFoundError) or error.status in _LISTS_NOTHING
                if place != folder and is_closed:  # one folder that is not shown
                    continue
                raise
            for entry in entries:
                name = entry["name"].rstrip("/")
                if entry["type"] != "directory":
                    files[entry["name"]] = entry
                elif name not in seen and name.startswith(f"{folder.rstrip('/')}/"):
                    seen.add(name)
                    pending.append(entry["name"])
        return files

    @property
    def _is_http(self) -> bool:
        return self.root.startswith(("http://", "https://"))

    def _unquote(self, path: str) -> str:
        return unquote(path) if self._is_http else path


def _list(fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    fs.invalidate_cache()
    found: dict[str, dict[str, Any]] = fs.find(folder, detail=True)
    return found


def _list_folder(fs: Any, folder: str) -> list[dict[str, Any]]:
    fs.invalidate_cache()
    found: list[dict[str, Any]] = fs.ls(folder, detail=True)
    return found
