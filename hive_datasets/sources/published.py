"""Where the corpora are published, as data (`metadata/published.json`): a root ``published://NAME`` is read from there.

What a server gives by range (members of zips, rows of parquet, single files) is a root like any other. What can only be
had whole (compressed archives, what a server packs on demand) is one that is gone through in order: see `whole`.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi

from ..errors import SourceNotFoundError, SourceRootError
from .corpora import find_corpus, list_corpora, name_of
from .roots import Roots, archive_protocol, find_roots, join_root, parse_roots
from .servers import ask_for

#: How roots begin that mean: from where it is published.
SCHEME = "published://"
#: A JSON file that has other entries than the packaged ones, for mirrors of one's own.
REGISTRY_VARIABLE = "HIVE_PUBLISHED"


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file, or a folder of a repository.

    Attributes:
        name: its name, in a repository its path.
        bytes: its size; None if it is not known.
        md5: its checksum; empty if it is not known.
        holds: how the metadata paths begin, after their first component, of what is in it, as a regular expression.
        address: its URL, if that is not the corpus' address and the name.
        is_packed_on_demand: whether the server packs it when it is asked for, so that its checksum may change.
    """

    name: str
    bytes: int | None = None
    md5: str = ""
    holds: str = ""
    address: str = ""
    is_packed_on_demand: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """Where a corpus is published.

    Attributes:
        corpus: this library's name of it.
        host: "hub", the Hub; "web", any server; "hand", where no program may get it.
        access: "ranges", of which only what is needed is read; "whole".
        files: what it consists of.
        clips, bytes: of all of it, about; from which the bytes of a part are estimated.
        repository: of the Hub.
        revision: of the repository; a branch stands for the commit that it is at when it is first asked.
        address: what the names of files are put behind.
        login: what one has to log in to; empty if to nothing.
        note: what else to know, or what to do by hand.
        is_video: whether its clips are videos.
    """

    corpus: str
    host: str
    access: str
    files: tuple[PublishedFile, ...]
    clips: int
    bytes: int
    repository: str = ""
    revision: str = "main"
    address: str = ""
    login: str = ""
    note: str = ""
    is_video: bool = False

    @property
    def is_by_hand(self) -> bool:
        """Whether no program may get it."""
        return self.host == "hand"

    @property
    def is_whole(self) -> bool:
        """Whether its archives are downloaded whole."""
        return self.access == "whole"

    @property
    def bytes_per_clip(self) -> float:
        """Of a clip, in the mean."""
        return self.bytes / max(1, self.clips)

    def find_file(self, rest: str) -> PublishedFile:
        """The file that has a metadata path.

        Args:
            rest: the path after its first component.

        Raises:
            SourceRootError: none has it, or no program may get it.
        """
        for file in self.files:
            if re.match(file.holds, rest):
                return file
        reason = self.note or f"none of its files is known to hold {rest!r}"
        raise SourceRootError(f"{self.corpus} cannot be fetched: {reason}")

    def locate(self, file: PublishedFile) -> str:
        """The URL of a file, which fsspec reads."""
        if self.host == "hub":
            commit = find_commit(self.repository, self.revision)
            return f"hf://datasets/{self.repository}@{commit}/{file.name}"
        return file.address or self.address + quote(file.name)

    def locate_root(self, file: PublishedFile) -> str:
        """A file as a root: an archive by its name, also where its URL has another."""
        url, protocol = self.locate(file), archive_protocol(file.name)
        return f"{protocol}://::{url}" if protocol and not archive_protocol(url) else url


def find_published(name: str) -> Published | None:
    """Where a corpus is published, by any of its names; None for one that the registry has not.

    Example:
        >>> find_published("Clotho").files[2].name
        'clotho_audio_evaluation.7z'
    """
    corpus = find_corpus(name)
    return None if corpus is None else _by_name(os.environ.get(REGISTRY_VARIABLE, "")).get(corpus.name)


def find_published_root(root: str, rest: str) -> str:
    """The root that a root ``published://NAME`` means for a metadata path: a URL, or itself where all is had whole.

    Raises:
        SourceRootError: it is not published, or not for programs.
    """
    name = root.removeprefix(SCHEME)
    published = find_published(name)
    if published is None:
        raise SourceRootError(f"{root}: where {name} is published is not known")
    file = published.find_file(rest)
    return root if published.is_whole else published.locate_root(file)


def publish_roots(given: Any, names: Collection[str] = ()) -> Roots:
    """Roots of which some corpora are read from where they are published.

    Args:
        given: the other roots, as `parse_roots` takes them; None for those that are configured, if any are.
        names: the corpora; empty for all that programs may get.

    Raises:
        SourceRootError: one of them is published nowhere, or not for programs.

    Example:
        >>> publish_roots({"ESC50": "/data/ESC-50-master"}, ["SoundBible"]).folders
        (('SoundBible', 'published://SoundBible'), ('ESC50', '/data/ESC-50-master'))
    """
    chosen = {}
    for name in names or [each.corpus for each in list_published()]:
        published = find_published(name)
        if published is None or published.is_by_hand:
            reason = published.note if published else "it is not one of Hive's corpora"
            raise SourceRootError(f"{name} cannot be fetched by a program. {reason}")
        chosen[published.corpus] = SCHEME + published.corpus
    try:
        others = find_roots(None if given is None else parse_roots(given))
    except SourceRootError as error:
        if error.configured:
            raise
        others = Roots()
    folders = list(others.folders)
    if others.parent is not None:
        folders = [(corpus.prefix, join_root(others.parent, corpus.prefix)) for corpus in list_corpora()]
    kept = [(name, root) for name, root in folders if name_of(name) not in chosen]
    return Roots((*chosen.items(), *kept), origin="dataset_paths and where corpora are published")


def list_published() -> list[Published]:
    """Where each corpus is published that programs may get."""
    found = map(find_published, (corpus.name for corpus in list_corpora()))
    return [published for published in found if published is not None and not published.is_by_hand]


@functools.lru_cache(maxsize=64)
def find_commit(repository: str, revision: str) -> str:
    """The commit of a repository of the Hub that a revision means; the same as long as this process lasts.

    Raises:
        SourceRootError: there is no such repository or revision.
        SourceUnreachableError: the Hub cannot be reached.
    """
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    api = HfApi()
    try:
        info = ask_for(api.endpoint, lambda: api.dataset_info(repository, revision=revision))
    except SourceNotFoundError:
        message = f"the Hub ({api.endpoint}) has no dataset {repository} at revision {revision}"
        raise SourceRootError(f"{message}: {REGISTRY_VARIABLE} names another place") from None
    return str(info.sha)


@functools.lru_cache(maxsize=8)
def _by_name(file: str) -> dict[str, Published]:
    text = resources.files("hive_datasets.metadata").joinpath("published.json").read_text(encoding="utf-8")
    entries = json.loads(text)
    if file:
        try:
            with open(file, encoding="utf-8") as stream:
                entries += json.load(stream)
        except (OSError, ValueError) as error:
            raise SourceRootError(f"{REGISTRY_VARIABLE}: {file} cannot be read: {error}") from None
    try:
        return {entry["corpus"]: _parse(entry) for entry in entries}
    except (KeyError, TypeError) as error:
        raise SourceRootError(f"{REGISTRY_VARIABLE}: {file} is no registry of published corpora: {error}") from None


def _parse(entry: dict[str, Any]) -> Published:
    files = tuple(PublishedFile(**file) for file in entry["files"])
    return Published(**{**entry, "files": files})
