"""What a file holds, where it came together with others."""

from __future__ import annotations

from typing import NamedTuple


class Content(NamedTuple):
    """The bytes of a file.

    Attributes:
        name: what it is called where it was found, which may be another kind of file than what the metadata names.
        data: its bytes.
        rules: the rules of `variants` by which it stands for what was sought.
    """

    name: str
    data: bytes
    rules: tuple[str, ...] = ()
