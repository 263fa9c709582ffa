"""Files and folders that appear only when they are whole, and where those lie that can be made again."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import cached_assets_path, constants

from ..errors import HiveError, describe

#: How the names of folders end in which something is made, and what is in them besides that.
UNFINISHED, _LIVING, _REPLACED = ".incomplete", ".living", ".replaced"
#: A folder without a lock that is not older was made just now.
_BIRTH_SECONDS = 10.0


@contextmanager
def written_aside(
    target: str | os.PathLike[str], or_keep: bool = False, replaces: bool = False, is_durable: bool = False
) -> Iterator[Path]:
    """A path to write a file or a folder to; it is renamed to `target` at the end, or removed after an error.

    Args:
        target: its path in the end.
        or_keep: whether a folder of that name stays if another process has finished it in the meantime.
        replaces: whether it takes the place of a folder of that name; a file always does.
        is_durable: whether it must be on the disk, and not just on its way, before it is renamed; for what a record
            will call whole.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with written_aside(target) as path:
        ...     _ = path.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(target)
    with _named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=UNFINISHED, dir=target.parent))
        living = FileLock(aside / _LIVING)  # by which others know that this is not left over
        living.acquire()
        new = aside / target.name
        try:
            yield new
            if is_durable:
                _sync(new)
            try:
                if replaces and new.is_dir() and target.is_dir():
                    _swap(new, target, aside)
                else:
                    os.replace(new, target)
            except OSError:
                if not (or_keep and target.is_dir() and new.is_dir()):
                    raise
            if is_durable:
                _sync_entry(target.parent)
        finally:
            living.release()
            shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path, pattern: str = "*", is_alone: bool = False) -> None:
    """Remove what processes that were killed have left of files or folders that match a pattern, and of no others.

    A folder that was being replaced when that happened is put back into its place, if it is not there.

    Args:
        folder: where they were to be.
        pattern: of their names.
        is_alone: whether no other process can be writing there now.
    """
    for aside in folder.glob(f".{pattern}.*{UNFINISHED}"):
        if not is_alone and _is_living(aside):
            continue
        replaced = aside / _REPLACED
        if replaced.exists():
            target = folder / aside.name[1:].rpartition(UNFINISHED)[0].rpartition(".")[0]
            if not target.exists():
                os.replace(replaced, target)
        shutil.rmtree(aside, ignore_errors=True)


def _is_living(aside: Path) -> bool:
    """Whether whoever writes there is at it still."""
    lock = FileLock(aside / _LIVING)
    try:
        if not (aside / _LIVING).exists():  # it may be about to be made
            return time.time() - aside.stat().st_mtime < _BIRTH_SECONDS
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _swap(new: Path, target: Path, aside: Path) -> None:
    """Put a folder in the place of another.

    Where the system can exchange them, one of the two is always there; else the old one is gone for a moment, and kept
    aside until the new one is in its place.
    """
    if _exchange(new, target):
        return
    os.replace(target, aside / _REPLACED)
    try:
        os.replace(new, target)
    except BaseException:
        os.replace(aside / _REPLACED, target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step, by Linux' renameat2; whether that could be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another system
        return False
    at_cwd, exchange = -100, 2
    return bool(renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0)


def _sync(path: Path) -> None:
    """Have a file, or all in a folder, on the disk."""
    for inner in path.rglob("*") if path.is_dir() else ():
        _sync_entry(inner)
    _sync_entry(path)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # of file systems that do not sync folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _named(target: Path) -> Iterator[None]:
    """An error of the system that names no file, as that of a full disk does, names this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None and not isinstance(error, HiveError):
            error.filename = os.fspath(target)
        raise


@contextmanager
def locked(lock: Path, error: type[HiveError], doing: str) -> Iterator[None]:
    """One process at a time.

    Args:
        lock: the file that is locked.
        error: what is raised if another process has locked it, or it cannot be written.
        doing: what the other process is doing, as in "writing into DIR".

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with locked(folder / "lock", HiveError, f"writing into {folder}"):
        ...     "alone"
        'alone'
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        raise error(f"another process is {doing}") from None
    except OSError as problem:
        raise error(f"{lock.parent} cannot be written: {describe(problem)}") from None
    try:
        yield
    finally:
        held.release()


def cache_folder(name: str) -> Path:
    """The folder `name` of this library in the user's cache of the Hugging Face libraries (``HF_ASSETS_CACHE``).

    Where that cannot be written, as on a machine that shares it read-only, one in the folder of temporary files serves,
    and a warning says so.

    Raises:
        HiveError: neither can be written.
    """
    try:
        folder = Path(cached_assets_path("hive-datasets", namespace=name, assets_dir=constants.HF_ASSETS_CACHE))
        if os.access(folder, os.W_OK):
            return folder
        problem = "no permission"
    except (OSError, ValueError) as error:
        problem = str(error)
    return _temporary_folder(name, str(constants.HF_ASSETS_CACHE), problem)


@functools.cache
def _temporary_folder(name: str, unusable: str, problem: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"hive-datasets-{user}" / name
    message = f"the cache folder {unusable} cannot be written: {problem}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise HiveError(f"{message}, nor can {folder}: {describe(error)}. Set HF_HOME to a folder that can.") from None
    if hasattr(os, "getuid") and folder.parent.stat().st_uid != user:
        raise HiveError(f"{message}, and {folder.parent} is another user's. Set HF_HOME to a folder that can.")
    warnings.warn(f"{message}. {folder} serves, which may not last: set HF_HOME to a folder that can", stacklevel=4)
    return folder
