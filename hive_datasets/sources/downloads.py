"""Files downloaded whole: resumed where they were left, and under their name only when they are whole and right."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download

from ..errors import OutputError, SourceError, WrongChecksumError, WrongChecksumWarning, describe
from ..utils.files import cache_folder, locked
from ..utils.progress import Progress, no_progress
from .published import Published, PublishedFile
from .ranges import RemoteBytes, version_of
from .servers import ask, ask_for

#: Where archives lie while they are gone through; by default, a folder of the user's cache.
SCRATCH_VARIABLE = "HIVE_SCRATCH"
#: What is asked for at once, and hashed at once.
_PIECE_BYTES, _HASHED_BYTES = 8 << 20, 1 << 20
#: How a file is called of which some is there yet, and one that is not what its checksum says.
_PART, _WRONG = ".part", ".wrong"
#: Kept free on the disk.
_SPARE_BYTES = 64 << 20
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


def find_scratch() -> Path:
    """The folder for archives that are downloaded whole."""
    configured = os.environ.get(SCRATCH_VARIABLE)
    return Path(configured).expanduser() if configured else cache_folder("downloads")


@contextlib.contextmanager
def downloaded(published: Published, file: PublishedFile, progress: Progress = no_progress) -> Iterator[Path]:
    """A file of a corpus on disk, which is removed when it has been gone through, and stays when that is interrupted.

    Raises:
        SourceError: there is no such file, or it is not what its checksum says.
        SourceUnreachableError: its server cannot be reached.
        OutputError: there is no space, or another process is at it.
    """
    folder = find_scratch() / published.corpus
    target = folder / file.name.rpartition("/")[2]
    with locked(folder / f".{target.name}.lock", OutputError, f"downloading {target}"):
        if not target.exists():
            download = _download_from_hub if published.host == "hub" else _download
            download(published, file, target, progress)
        yield target
        target.unlink()


def _download(published: Published, file: PublishedFile, target: Path, progress: Progress) -> None:
    url, part = published.locate(file), target.with_name(target.name + _PART)
    info = ask(url, lambda fs, path: fs.info(path))
    size, version = info.get("size"), version_of(info)
    _check_space(target, (size or file.bytes or 0) - _done(part, size, version))
    with progress(f"downloading {target.name}", "bytes", size or file.bytes) as advance:
        if size is None or not info.get("partial", True):
            ask(url, lambda fs, path: _copy_stream(fs, path, part, advance))
        else:
            _copy_pieces(RemoteBytes(url, size, version), part, advance)
    after = ask(url, lambda fs, path: fs.info(path))
    if (after.get("size"), version_of(after)) != (size, version):
        part.unlink()
        raise SourceError(f"{url} has changed while it was downloaded: run it again")
    _check_sum(published, file, part, "md5", file.md5)
    _place(part, target)


def _download_from_hub(published: Published, file: PublishedFile, target: Path, progress: Progress) -> None:
    """By huggingface_hub, which resumes, and shows progress of its own; the checksum is the Hub's."""
    commit = re.search("@([0-9a-f]+)/", published.locate(file))
    assert commit is not None
    api = HfApi()
    repository, revision, aside = published.repository, commit[1], target.parent / ".hub"
    infos: list[Any] = ask_for(
        api.endpoint, lambda: api.get_paths_info(repository, [file.name], revision=revision, repo_type="dataset")
    )
    if not infos:
        raise SourceError(f"{repository} has no file {file.name} at {revision}")
    _check_space(target, infos[0].size - sum(path.stat().st_size for path in aside.rglob("*") if path.is_file()))

    def download() -> str:
        with _writing(target):
            return hf_hub_download(repository, file.name, repo_type="dataset", revision=revision, local_dir=aside)

    with progress(f"downloading {target.name}", "bytes", infos[0].size) as advance:
        found = ask_for(api.endpoint, download)
        advance(infos[0].size)
    _check_sum(published, file, Path(found), "sha256", infos[0].lfs.sha256 if infos[0].lfs else "")
    _place(Path(found), target)
    shutil.rmtree(aside, ignore_errors=True)


def _copy_pieces(source: RemoteBytes, part: Path, advance: Callable[[int], Any]) -> None:
    """Go on where an earlier attempt was left, if that was of the same contents."""
    done = _done(part, source.size, source.version)
    with _writing(part):
        _note_file(part).write_text(json.dumps([source.size, source.version]))
        with part.open("r+b" if done else "wb") as out:
            out.seek(done)
            out.truncate()
            advance(done)
            while done < source.size:
                data = source.read_once(done, _PIECE_BYTES)
                out.write(data)
                done += len(data)
                advance(len(data))


def _copy_stream(fs: Any, path: str, part: Path, advance: Callable[[int], Any]) -> None:
    """Of a server that gives all or nothing."""
    with _writing(part), fs.open(path, "rb", block_size=0) as stream, part.open("wb") as out:
        while data := stream.read(_HASHED_BYTES):
            out.write(data)
            advance(len(data))


def _done(part: Path, size: int | None, version: int) -> int:
    """How many bytes of a file are there yet; none if they may be of another."""
    try:
        if json.loads(_note_file(part).read_text()) == [size, version] and version:
            return min(part.stat().st_size, size or 0)
    except (OSError, ValueError):
        pass
    return 0


def _note_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _check_space(target: Path, num_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if num_bytes + _SPARE_BYTES > free:
        raise OutputError(
            f"{target.parent} has {free / 1e9:,.1f} GB free, and {target.name} takes {num_bytes / 1e9:,.1f} GB. "
            f"{SCRATCH_VARIABLE} names another folder."
        )


def _check_sum(published: Published, file: PublishedFile, part: Path, kind: str, expected: str) -> None:
    if not expected:
        return
    digest = hashlib.new(kind, usedforsecurity=False)
    with part.open("rb") as stream:
        while data := stream.read(_HASHED_BYTES):
            digest.update(data)
    if digest.hexdigest() == expected:
        return
    message = f"{published.locate(file)}: its {kind} is {digest.hexdigest()}, where {expected} is published"
    if file.is_packed_on_demand:
        warnings.warn(f"{message}: the server packs it on demand", WrongChecksumWarning, stacklevel=2)
        return
    aside = part.with_name(part.name.removesuffix(_PART) + _WRONG)
    os.replace(part, aside)
    _note_file(part).unlink(missing_ok=True)
    raise WrongChecksumError(f"{message}. It is kept as {aside}, and not used: run it again to download it anew")


def _place(part: Path, target: Path) -> None:
    os.replace(part, target)
    _note_file(part).unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Tell errors of the disk, which nobody must take for the server's, from all others."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        message = f"{target} cannot be written: {describe(error)}. What is there is kept"
        raise OutputError(f"{message}: see to it, and run it again to go on.") from None
