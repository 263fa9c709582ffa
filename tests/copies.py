"""Copies of folders that take no space, for tests that change a file or two."""

import contextlib
import os
import shutil
import stat
import sys
from pathlib import Path


@contextlib.contextmanager
def linked_copy(original, folder):
    """A copy of a folder whose files are links to the original's; at the end, those must be as they were.

    A file that Python opens to write into is no link any more by then. Before anything else writes into one, as
    libsndfile does, or changes its times, it must be made one of its `own`.
    """
    _break_links_before_writing()
    before = _states_of(original)
    shutil.copytree(original, folder, copy_function=os.link)
    yield folder
    changed = sorted({file.name for file, _ in _states_of(original).items() ^ before.items()})
    assert not changed, f"make these own() before you write into them: {changed}"


def own(file):
    """The path of a file of such a copy, made no link to another."""
    file = Path(file)
    if file.stat().st_nlink > 1:
        aside = file.with_name(f"{file.name}.own")
        shutil.copy2(file, aside)
        os.replace(aside, file)
    return file


def _states_of(folder):
    statuses = ((file, file.stat()) for file in folder.rglob("*") if file.is_file())
    return {file: (status.st_size, status.st_mtime_ns, status.st_mode) for file, status in statuses}


def _break_links_before_writing(hooked=[]):  # noqa: B006 (a hook cannot be taken away again)
    if not hooked:
        hooked.append(_before_opening)
        sys.addaudithook(_before_opening)


def _before_opening(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, Path)) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.stat(arguments[0])
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            own(arguments[0])
