"""Types of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from datasets.utils.py_utils import convert_file_size_to_int


def parse_positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def parse_size(text: str) -> int:
    """A number of bytes: digits, or such as 500MB or 2GiB."""
    if text.isdecimal():
        return parse_positive(text)
    try:
        return int(convert_file_size_to_int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in bytes, such as 500MB or 2GiB") from None


def parse_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an argument that names a file to write."""

    def check(text: str) -> Path:
        if not text.lower().endswith(suffixes):
            raise argparse.ArgumentTypeError(f"{text!r} must end with {' or '.join(suffixes)}")
        return Path(text)

    return check
