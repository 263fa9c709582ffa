"""Types of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def parse_positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def parse_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an argument that names a file to write."""

    def check(text: str) -> Path:
        if not text.lower().endswith(suffixes):
            raise argparse.ArgumentTypeError(f"{text!r} must end with {' or '.join(suffixes)}")
        return Path(text)

    return check
