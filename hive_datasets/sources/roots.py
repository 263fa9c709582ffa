"""Where the user's copies of the corpora lie: the configuration, and which root a metadata path belongs to.

Roots come from an argument, from ``HIVE_DATASET_PATHS`` or from a config file, and are looked up when audio is
read. They are never stored in a table. Nothing here looks at what is in them; see `catalogue`.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import SourceRootError
from .corpora import find_corpus, find_nearest_name

ENVIRONMENT_VARIABLE = "HIVE_DATASET_PATHS"


@dataclass(frozen=True)
class Roots:
    """The roots that hold the corpora: one by one, or all in one under their metadata names.

    A root is an absolute folder, a zip or tar archive, or any fsspec URL.

    Attributes:
        folders: pairs of (name as configured, root).
        parent: the one root that holds all corpora, instead of `folders`.
        origin: where this was configured, for error messages.
    """

    folders: tuple[tuple[str, str], ...] = ()
    parent: str | None = None
    origin: str = "dataset_paths"

    def locate(self, path: str) -> str:
        """The place where a metadata path should be, if its root is a folder; what is there is not looked at.

        Raises:
            SourceRootError: see `match`.

        Example:
            >>> Roots(folders=(("ESC50", "/data/esc"),)).locate("ESC-50-master/audio/1-59513-A-0.wav")
            '/data/esc/audio/1-59513-A-0.wav'
        """
        root, rest = self.match(path)
        return f"{root}/{rest}"

    def match(self, path: str) -> tuple[str, str]:
        """The root of a metadata path, and the path below it.

        The path's first component is matched to a root by the root's configured name, by its basename
        (that of an archive without its extension), and by the registry's aliases, in that order.

        Raises:
            SourceRootError: no root fits, or several do, or the path would leave its root.
        """
        first, _, rest = path.partition("/")
        # an empty component would make the rest absolute
        if not rest or not {"", ".", ".."}.isdisjoint(path.split("/")):
            message = f"{path!r} is not a metadata path: it must be relative, start with a corpus and not contain '..'"
            raise SourceRootError(message, path=path)
        return (join_root(self.parent, first) if self.parent else _match(self, first)), rest

    def describe(self) -> str:
        """The configuration in one line, for error messages."""
        if self.parent:
            return f"{self.origin}: {self.parent}"
        return f"{self.origin}: " + ", ".join(f"{name} -> {folder}" for name, folder in self.folders)


def join_root(parent: str, name: str) -> str:
    """The root `name` inside a root that holds several: a folder below it, or one inside an archive."""
    head, chained, archive = parent.partition("::")
    if chained:
        return f"{head}{'' if head.endswith('/') else '/'}{name}::{archive}"
    protocol = archive_protocol(parent)
    if not protocol and parent.startswith(("http://", "https://")):
        name = quote(name)  # "%2e%2e" would lead out of it
    return f"{protocol}://{name}::{parent}" if protocol else f"{parent.rstrip('/')}/{name}"


def name_of_root(root: str) -> str:
    """The last component of a root's path; of an archive, its name without the extension.

    Example:
        >>> name_of_root("s3://bucket/ESC-50-master.zip"), name_of_root("zip://audio::/data/x.zip")
        ('ESC-50-master', 'audio')
    """
    head, _, archive = root.partition("::")
    name = os.path.basename(head.partition("://")[2] or head) if archive else os.path.basename(root.rstrip("/"))
    name = (name or os.path.basename(archive)).partition("?")[0]
    return _PACKED.sub("", name)


_PACKED = re.compile(r"(\.tar)?\.(zip|tar|gz|tgz|bz2|xz|zst|7z|rar|z01|parquet)$", re.IGNORECASE)


def archive_protocol(path: str) -> str | None:
    """The protocol of an archive that can be read in place, by its name; a URL may have a query behind it."""
    path = path.partition("?")[0] if "://" in path else path
    return {".zip": "zip", ".tar": "tar"}.get(os.path.splitext(path)[1].lower())


@functools.lru_cache(maxsize=1024)
def _match(roots: Roots, component: str) -> str:
    """The root for the first component of a metadata path."""
    corpus = find_corpus(component)

    def has_alias(name: str) -> bool:
        same_corpus = corpus is not None and find_corpus(name) == corpus
        return same_corpus or name.casefold() == component.casefold()

    by_rule = {
        "name": {folder for name, folder in roots.folders if name == component},
        "basename": {folder for _, folder in roots.folders if name_of_root(folder) == component},
        "alias": {folder for name, folder in roots.folders if has_alias(name) or has_alias(name_of_root(folder))},
    }
    for rule, found in by_rule.items():
        if len(found) == 1:
            return found.pop()
        if found:
            message = f"several source roots fit {component!r} by their {rule}: {', '.join(sorted(found))}"
            raise SourceRootError(f"{message}. Keep one of them ({roots.describe()}).", several=True)
    names = ", ".join(dict.fromkeys((component, *(corpus.names if corpus else ()))))
    raise SourceRootError(
        f"no source root fits {component!r}: no configured name or folder is one of {names}. "
        f"Configured is {roots.describe()}. Add {json.dumps({component: '/path/to/' + component})}."
    )


def parse_roots(dataset_paths: Any, origin: str = "dataset_paths") -> Roots:
    """Roots from what a user writes.

    Args:
        dataset_paths: a mapping of corpus to root, JSON text or the path of a JSON file with such a mapping
            (as the authors' ``dataset_paths.json``), or one root that holds all corpora under their
            metadata names (or a single corpus, whose name it bears). A root is a folder, a zip or tar
            archive, or any fsspec URL. ``~`` and ``$VARIABLES`` are expanded; a relative path is relative
            to the JSON file that names it, else to the current folder.
        origin: where it comes from, for error messages.

    Raises:
        SourceRootError: it is none of these.

    Example:
        >>> parse_roots('{"AudioSet": "/data/AudioSet"}').folders
        (('AudioSet', '/data/AudioSet'),)
    """
    if isinstance(dataset_paths, Roots):
        return dataset_paths
    if isinstance(dataset_paths, Mapping):
        return _roots_from_mapping(dataset_paths, Path.cwd(), origin)
    if not isinstance(dataset_paths, (str, os.PathLike)):
        raise SourceRootError(f"{origin} must be a mapping or a path, not {type(dataset_paths).__name__}")
    text = os.fspath(dataset_paths)
    if text.lstrip().startswith("{"):
        return _roots_from_json(text, Path.cwd(), origin)
    if not text.strip():
        raise SourceRootError(f"{origin} is empty")
    path = _absolute(text, Path.cwd(), origin)
    if "://" in path or os.path.isdir(path) or (_PACKED.search(path) and os.path.isfile(path)):
        name = name_of_root(path)
        # a root that bears the name of one corpus is that one's
        return Roots(folders=((name, path),), origin=origin) if find_corpus(name) else Roots(parent=path, origin=origin)
    if os.path.isfile(path):
        return _roots_from_json(Path(path).read_text(encoding="utf-8"), Path(path).parent, f"{origin} ({path})")
    if not os.path.exists(path):
        raise SourceRootError(f"{origin}: {path} does not exist")
    raise SourceRootError(f"{origin}: {path} is neither a folder, an archive nor a JSON file")


def _roots_from_json(text: str, base: Path, origin: str) -> Roots:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceRootError(f"{origin} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise SourceRootError(f"{origin} must be a JSON object of corpus to folder, not {type(value).__name__}")
    return _roots_from_mapping(value, base, origin)


def _roots_from_mapping(value: Mapping[Any, Any], base: Path, origin: str) -> Roots:
    for name, folder in value.items():
        if not isinstance(name, str) or not isinstance(folder, (str, os.PathLike)):
            raise SourceRootError(f"{origin}: {name!r}: {folder!r} is not a pair of corpus and folder")
        nearest = find_nearest_name(name)
        # a corpus of one's own may have a similar name, and its folder has it, too
        if nearest and name_of_root(os.fspath(folder)) != name:
            message = f"{origin}: {name!r} is no corpus of Hive. Did you mean {nearest!r}?"
            raise SourceRootError(f"{message} (A folder of that very name may stay as it is.)")
    folders = [(name, _absolute(os.fspath(folder), base, origin)) for name, folder in value.items()]
    return Roots(folders=tuple(folders), origin=origin)


def _absolute(root: str, base: Path, origin: str) -> str:
    """A root with ``~`` and variables expanded, and absolute; of a URL, whatever is local in it."""
    root = os.path.expandvars(root)
    head, chained, archive = root.partition("::")
    if chained:
        return f"{head}::{_absolute(archive, base, origin)}"
    if "://" in root:
        return root
    return os.path.normpath(os.path.join(base, os.path.expanduser(root)))


def config_file() -> Path:
    """The user's config file, read when neither an argument nor the environment gives roots."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "hive-datasets" / "dataset_paths.json"


def find_roots(given: Roots | None = None) -> Roots:
    """The roots in force: `given`, else those of ``HIVE_DATASET_PATHS``, else those of the config file.

    Cheap enough to be called for every mixture, so that a change takes effect at once.

    Raises:
        SourceRootError: nothing is configured.
    """
    if given is not None:
        return given
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    if value:
        return _parse_cached(value, ENVIRONMENT_VARIABLE, _modified(value), os.getcwd())
    file = str(config_file())
    modified = _modified(file)
    if modified is not None:
        return _parse_cached(file, "config file", modified, "")
    example = json.dumps({"AudioSet": "/data/AudioSet", "VGGSound": "/data/vggsound"})
    raise SourceRootError(
        "no source roots are configured. Say where your copies of the corpora are with "
        f"load_dataset(..., dataset_paths={example}), with {ENVIRONMENT_VARIABLE} (JSON text, a JSON file, or a "
        f"folder that holds all corpora), or in {file}.",
        configured=False,
    )


def _modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=16)
def _parse_cached(value: str, origin: str, modified: int | None, cwd: str) -> Roots:
    return parse_roots(value, origin)
