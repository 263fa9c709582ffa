"""Words of reports."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Collection, Iterator


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "shard"), count(2500, "mixture")
        ('1 shard', '2,500 mixtures')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_options(message: str, options: Collection[str]) -> str:
    """A message whose arguments are named as options of a command: errors name them as Python has them.

    Example:
        >>> name_options("fewer (num_sources=, limit=), overwrite=True or to='tar'", {"--overwrite", "--limit", "--to"})
        'fewer (num_sources=, --limit), --overwrite or --to tar'
        >>> name_options("dataset_paths: /nowhere does not exist", {"--dataset-paths"})
        '--dataset-paths: /nowhere does not exist'
    """

    def translate(found: re.Match[str]) -> str:
        name = _OPTIONS.get(found[1], f"--{found[1].replace('_', '-')}")
        value = found[2].strip("'")
        return found[0] if name not in options else f"{name} {value}".strip() if value != "True" else name

    message = re.sub(r"\b([a-z_]+)=('[^']*'|[\w/]+(?:[./]\w+)*|)", translate, message)
    return re.sub(r"^([a-z_]+)()(?=: )", translate, message)


#: Arguments whose options have other names.
_OPTIONS = {"splits": "--split", "labels": "--label"}


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
