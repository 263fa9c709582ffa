"""A root that is a folder behind any fsspec URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from ..errors import SourceNotFoundError, SourceRootError, SourceUnreachableError
from .index import Extent, Index, Scan
from .ranges import Part, RangeFile, RemoteBytes, open_bytes, version_of
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
        scan = Scan()
        for inside, size, version, _ in list_files(self.root):
            folder, _, name = inside.rpartition("/")
            scan.add(folder, name, Extent(0, size, size, version=version))
        if not len(scan):
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
        return locate_in(self.root, path)

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


def list_files(root: str) -> list[Part]:
    """The files in a remote folder and those below it: paths relative to it, and -1 for sizes that no listing tells.

    Of a server of the web that lists nothing, there are none.

    Raises:
        SourceRootError: there is no such folder.
        SourceUnreachableError: it cannot be listed.
    """
    folder = open_filesystem(root)[1]
    files = {}
    try:
        files = _walk(folder) if _is_http(root) else ask(root, _list)
    except SourceNotFoundError:
        if not _is_http(root):
            raise SourceRootError(f"{root}: there is no such folder") from None
    except SourceUnreachableError as error:
        # a server that lists nothing, as many on the web, is asked again each time
        if not (_is_http(root) and error.status in _LISTS_NOTHING):
            error.message = f"{root} cannot be listed: {error.message}"
            raise
    prefix = folder.rstrip("/") + "/"
    found = []
    for path, info in files.items():
        if path.startswith(prefix):
            inside = path.removeprefix(prefix)
            size = info.get("size")
            found.append(
                Part(unquote(inside) if _is_http(root) else inside, -1 if size is None else size, version_of(info))
            )
    return found


def locate_in(root: str, path: str) -> str:
    """The URL of a file of a remote folder."""
    return f"{root}/{quote(path) if _is_http(root) else path}"


def _walk(folder: str) -> dict[str, dict[str, Any]]:
    """All files, folder by folder: each may be asked for again without the others."""
    files: dict[str, dict[str, Any]] = {}
    seen, pending = {folder.rstrip("/")}, [folder]
    while pending:
        place = pending.pop()
        try:
            entries = ask(place, list_folder)
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


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _list(fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    fs.invalidate_cache()
    found: dict[str, dict[str, Any]] = fs.find(folder, detail=True)
    return found


def list_folder(fs: Any, folder: str) -> list[dict[str, Any]]:
    """The entries of a remote folder, as its filesystem tells them."""
    fs.invalidate_cache()
    found: list[dict[str, Any]] = fs.ls(folder, detail=True)
    return found
