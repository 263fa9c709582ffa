"""Words of reports."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "shard"), count(2500, "mixture")
        ('1 shard', '2,500 mixtures')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
