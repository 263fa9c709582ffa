"""Telling how far long work is: what does it reports steps to a `Progress`, which the caller chooses."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


#: How many units there are: None if nobody knows, or a function that tells later on.
Total = int | None | Callable[[], int | None]


class Progress(Protocol):
    """Told how far a long step is."""

    def __call__(self, step: str, unit: str, total: Total) -> contextlib.AbstractContextManager[Callable[[int], Any]]:
        """A step of `total` units begins; the context is called with the number of units done since the last call."""
        ...


@contextlib.contextmanager
def no_progress(step: str, unit: str, total: Total) -> Iterator[Callable[[int], Any]]:
    """Progress that nobody looks at."""
    yield lambda done: None


@contextlib.contextmanager
def show_progress(step: str, unit: str, total: Total) -> Iterator[Callable[[int], Any]]:
    """Progress on standard error, with rate and time left; bytes as KB, MB, GB."""
    is_bytes = unit == "bytes"
    shown = {"unit": "B", "unit_scale": True} if is_bytes else {"unit": f" {unit}"}
    find_total = total if callable(total) else lambda: total
    with tqdm(desc=step, total=find_total(), file=sys.stderr, **shown) as bar:

        def advance(done: int) -> None:
            bar.total = find_total()
            bar.update(done)

        yield advance


def count_items(items: Iterable[Item], advance: Callable[[int], Any], every: int = 1) -> Iterator[Item]:
    """The same items; `advance` is told of them: of a table, of its rows.

    Example:
        >>> seen = []
        >>> list(count_items("abc", seen.append, every=2)), seen
        (['a', 'b', 'c'], [2, 1])
    """
    seen = 0
    for item in items:
        yield item
        seen += getattr(item, "num_rows", 1)
        if seen >= every:
            advance(seen)
            seen = 0
    advance(seen)
