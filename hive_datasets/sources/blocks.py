"""A cache on local disk, of bounded size, of blocks of remote files. All processes of a user share it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import xxhash

from ..errors import SourceRootError
from ..utils.files import cache_folder

ENVIRONMENT_VARIABLE = "HIVE_BLOCK_CACHE_BYTES"
DEFAULT_LIMIT = 2 << 30
BLOCK_SIZE = 256 << 10
#: A block read again counts as used then, if that was noted longer ago than this many seconds.
_TOUCH_SECONDS = 60.0
#: A block has its checksum behind it. One that is being written is named so, and was left if it is older than this.
_DIGEST_BYTES, _ASIDE, _LEFT_SECONDS = 8, ".aside", 3600.0


class Contents(Protocol):
    """What blocks are cut from: contents of a known size under a name, told apart by a version."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


class BlockCache:
    """Blocks as files of a folder, with checksums; the ones not used for longest go when there are too many bytes.

    Args:
        folder: where they are.
        limit: bytes to keep, at most. Each process that fills the cache looks every sixteenth of it, so
            there may be that much more for a while. 0 keeps nothing.
        block_size: bytes of a block.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT, block_size: int = BLOCK_SIZE) -> None:
        self.folder, self.limit, self.block_size = folder, limit, block_size
        self._gave_way = -math.inf  # when, last, to a full disk
        self._unchecked = limit  # so that the first block written is followed by a look

    def read(self, file: Contents, block: int, fetch: Callable[[int, int], bytes]) -> bytes:
        """A block of a file: from the cache, or by `fetch(start, end)`."""
        start, end = block * self.block_size, min((block + 1) * self.block_size, file.size)
        if not self.limit:
            return fetch(start, end)
        key = hashlib.sha256(f"{file.name}\n{file.version}\n{file.size}\n{start}\n{end}".encode()).hexdigest()
        path = self.folder / key[:2] / key
        with contextlib.suppress(OSError):
            stored = path.read_bytes()
            data = stored[:-_DIGEST_BYTES]
            if len(data) == end - start and _digest(data) == stored[-_DIGEST_BYTES:]:
                self._touch(path)
                return data
        data = fetch(start, end)
        try:
            self._write(path, data)
        except OSError as error:  # a full disk or a read-only cache is no reason to stop
            # nor for others to have no space; a look at it takes long
            if error.errno == errno.ENOSPC and time.monotonic() - self._gave_way > _TOUCH_SECONDS:
                self._gave_way = time.monotonic()
                self.trim(0.5)
        return data

    def trim(self, share: float = 1.0) -> None:
        """Remove the blocks not used for longest, until nine tenths of the limit are left, and scratch files.

        Args:
            share: of what is there, as another limit.
        """
        blocks = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process may be trimming too
                status = path.stat()
                if path.suffix != _ASIDE:
                    blocks.append((status.st_mtime, status.st_size, path))
                elif time.time() - status.st_mtime > _LEFT_SECONDS:
                    path.unlink()
        total = sum(size for _, size, _ in blocks)
        limit = min(self.limit, total * share)
        if total <= limit and share == 1.0:
            return
        for _, size, path in sorted(blocks, key=lambda block: block[0]):
            if total <= limit * 0.9:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _touch(self, path: Path) -> None:
        if time.time() - path.stat().st_mtime > _TOUCH_SECONDS:
            os.utime(path)

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # not `written_aside`, whose folder for each file would cost more than the block
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False, suffix=_ASIDE) as aside:
            try:
                aside.write(data)
                aside.write(_digest(data))
                aside.flush()
                os.replace(aside.name, path)
            except BaseException:
                os.unlink(aside.name)
                raise
        self._unchecked += len(data)
        if self._unchecked > self.limit // 16:
            self._unchecked = 0
            self.trim()


def _digest(data: bytes) -> bytes:
    return xxhash.xxh3_64_digest(data)


def find_block_cache() -> BlockCache:
    """The user's cache: `DEFAULT_LIMIT` bytes, or what ``HIVE_BLOCK_CACHE_BYTES`` says.

    Raises:
        SourceRootError: the environment variable is not a number of bytes.
    """
    value = os.environ.get(ENVIRONMENT_VARIABLE, str(DEFAULT_LIMIT))
    try:
        limit = int(value)
    except ValueError:
        limit = -1
    if limit < 0:
        raise SourceRootError(f"{ENVIRONMENT_VARIABLE} must be a number of bytes, 0 for no cache, not {value!r}")
    return _open_block_cache(cache_folder("blocks"), limit)


@functools.lru_cache(maxsize=8)
def _open_block_cache(folder: Path, limit: int) -> BlockCache:
    return BlockCache(folder, limit)
