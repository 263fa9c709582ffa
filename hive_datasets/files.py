"""Files and folders that appear only when they are whole, and where those lie that can be made again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import cached_assets_path, constants

from .errors import HiveError, describe


@contextmanager
def written_aside(target: str | os.PathLike[str], or_keep: bool = False) -> Iterator[Path]:
    """A path to write a file or a folder to; it is renamed to `target` at the end, or removed after an error.

    Args:
        target: its path in the end.
        or_keep: whether a folder of that name stays if another process has finished it in the meantime.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with written_aside(target) as path:
        ...     _ = path.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".incomplete", dir=target.parent))
    try:
        yield aside / target.name
        try:
            os.replace(aside / target.name, target)
        except OSError:
            if not (or_keep and target.is_dir() and (aside / target.name).is_dir()):
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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

    Raises:
        HiveError: it cannot be written.
    """
    try:
        return Path(cached_assets_path("hive-datasets", namespace=name, assets_dir=constants.HF_ASSETS_CACHE))
    except (OSError, ValueError) as error:
        message = f"the cache folder {constants.HF_ASSETS_CACHE} cannot be written: {error}"
        raise HiveError(f"{message}. Set HF_HOME to a folder that can.") from None
