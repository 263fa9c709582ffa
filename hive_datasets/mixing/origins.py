"""Where the rows of a dataset find their sources, without saying so in any file.

What ``load_dataset("hive", dataset_paths=..., prepared=...)`` is told belongs to that dataset. Each of its rows carries
a number, and this process knows which roots and prepared sources the number stands for. So rows of several
datasets that are interleaved or concatenated each find their own, and what renders them takes what it needs along when
it is pickled.
A process that never had it reads from where it is configured to; if that is nowhere, the error says what to pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import xxhash

from ..errors import SourceRootError
from ..prepared.store import find_prepared
from ..sources import Roots, find_roots, parse_roots
from ..sources.roots import ENVIRONMENT_VARIABLE


@dataclass(frozen=True)
class Origin:
    """Where sources are read from.

    Attributes:
        roots: the corpora; None for where this process is configured to find them.
        prepared: the folder of prepared sources, or its URL; None for those that are configured (``HIVE_PREPARED``);
            False for none. Not opened: it may be gone when another dataset is handed on.
    """

    roots: Roots | None = None
    prepared: str | Literal[False] | None = None


#: The number of rows that are read from where the process is configured to.
CONFIGURED = 0
#: What this process was told. It only grows, by a few bytes a `load_dataset`.
_ORIGINS: dict[int, Origin] = {CONFIGURED: Origin()}


def remember_origin(dataset_paths: Any = None, prepared: Any = None) -> int:
    """The number that stands for these arguments of `load_dataset`, in this process and whatever it is pickled into.

    Raises:
        SourceRootError, PreparedSourcesError: the arguments are not what they should be.

    Example:
        >>> import hive_datasets
        >>> number = remember_origin(hive_datasets.demo_folder() / "sources")
        >>> find_origin(number).roots.parent == str(hive_datasets.demo_folder() / "sources")
        True
        >>> remember_origin() == CONFIGURED
        True
    """
    roots = None if dataset_paths is None else parse_roots(dataset_paths)
    opened = None if prepared is None or prepared is False else find_prepared(prepared)
    origin = Origin(roots, prepared if opened is None else opened.folder)
    if origin == Origin():
        return CONFIGURED
    number = _hash(origin)
    while number in _ORIGINS and _key(_ORIGINS[number]) != _key(origin):  # two of them in 2**31
        number = number % (2**31 - 1) + 1
    _ORIGINS[number] = origin
    return number


def find_origin(number: int | None) -> Origin:
    """What a number stands for; None is a row of metadata.

    What this process was not told of, as of a file that another wrote, is read from where it is configured to.

    Raises:
        SourceRootError: nothing is configured.
    """
    origin = _ORIGINS.get(number or CONFIGURED)
    if origin is not None:
        return origin
    try:
        find_roots()
    except SourceRootError:
        raise SourceRootError(
            "this row is of a dataset that another process loaded with dataset_paths= or prepared=, of which this one "
            "does not know. Say where its sources are: dataset_paths= of Mixture (in cast_column), of RenderMixtures "
            f"or of Mixer, or {ENVIRONMENT_VARIABLE}.",
            configured=False,
        ) from None
    return _ORIGINS[CONFIGURED]


def is_known(number: int | None) -> bool:
    """Whether this process was told what a number stands for."""
    return number in _ORIGINS


def known_origins() -> dict[int, Origin]:
    """All of them, to be pickled with what renders."""
    return {number: _ORIGINS[number] for number in sorted(_ORIGINS)}


def learn_origins(origins: Mapping[int, Origin]) -> None:
    """Take over what another process knew."""
    for number, origin in origins.items():
        _ORIGINS.setdefault(number, origin)


def _hash(origin: Origin) -> int:
    return xxhash.xxh3_64_intdigest(repr(_key(origin)).encode("utf-8", "surrogatepass")) % (2**31 - 1) + 1


def _key(origin: Origin) -> tuple[Any, ...]:
    roots = origin.roots
    return None if roots is None else (roots.folders, roots.parent), origin.prepared
