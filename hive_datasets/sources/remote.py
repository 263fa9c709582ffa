"""A root that is a folder behind any fsspec URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote, unquote

from ..errors import SourceRootError, describe
from .index import Extent, Index, Scan
from .ranges import RangeFile, RemoteBytes, open_bytes, open_filesystem, version_of

#: How long a listing of a remote folder is trusted, in seconds.
LISTING_SECONDS = 24 * 3600.0


class RemoteStorage:
    """A remote folder, listed at once and read by range.

    Its listing is kept for a day: to find out whether it has changed costs as much as to make it anew.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def scan(self, progress: Callable[[int], None]) -> Scan:
        """See `Storage`."""
        fs, folder = open_filesystem(self.root)
        scan = Scan()
        files = {}
        try:
            fs.invalidate_cache()
            files = fs.find(folder, detail=True)
        except Exception as error:  # every protocol has exceptions of its own
            # a server that lists nothing, as many on the web; which is asked again each time
            if not (self._is_http and getattr(error, "status", 0) in (401, 403, 404, 405)):
                raise SourceRootError(f"{self.root} cannot be listed: {describe(error)}") from None
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
        """
        found = open_bytes(self.locate(path))
        return Extent(0, found.size, found.size, version=found.version)

    @property
    def _is_http(self) -> bool:
        return self.root.startswith(("http://", "https://"))

    def _unquote(self, path: str) -> str:
        return unquote(path) if self._is_http else path
