"""Words of reports."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "shard"), count(2500, "mixture")
        ('1 shard', '2,500 mixtures')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def plain_warnings(program: str) -> Iterator[None]:
    """Show warnings as the program's words, without the line of code that they come from; a decorator of its `main`."""

    def format_plainly(message: Warning | str, *_: object, **__: object) -> str:
        return f"{program}: {message}\n"

    with_code = warnings.formatwarning
    warnings.formatwarning = format_plainly
    try:
        yield
    finally:
        warnings.formatwarning = with_code
