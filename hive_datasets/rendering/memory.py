"""Memory of arrays that nobody holds any more, used again.

Asking the system for the tens of megabytes of a batch, and touching them for the first time, takes as long as rendering
what goes into them from prepared sources.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

#: Blocks of one name that wait to be used again; others are given back to the system.
_WAITING = 3


class RecycledMemory:
    """Arrays of float32, in memory that earlier ones had and that no array, view or tensor refers to any longer.

    Example:
        >>> memory = RecycledMemory()
        >>> first = memory.take("mix", (2, 3))
        >>> address = first.ctypes.data
        >>> tail = first[1:]
        >>> del first
        >>> memory.take("mix", (2, 3)).ctypes.data == address  # `tail` is still there
        False
        >>> del tail
        >>> memory.take("mix", (1, 4)).ctypes.data == address
        True
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[npt.NDArray[np.float32]]] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """An array of some shape, of memory that has had the same name; what is in it is left from before."""
        size, waiting = math.prod(shape), self._waiting.setdefault(name, [])
        block = None
        with contextlib.suppress(IndexError):  # of an empty list: other threads may take from it, too
            while block is None:
                found = waiting.pop()
                block = found if found.size >= size else None  # smaller ones are let go
        if block is None:
            block = np.empty(size, np.float32)
        lease = _Lease(block)
        weakref.finalize(lease, _give_back, waiting, block).atexit = False
        array: npt.NDArray[np.float32] = np.asarray(lease)
        return array[:size].reshape(shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"_waiting": {}}


class _Lease:
    """What all arrays of a block have for their base, so that it is gone when the last of them is."""

    def __init__(self, block: npt.NDArray[np.float32]) -> None:
        self.block = block
        self.__array_interface__ = block.__array_interface__


def _give_back(waiting: list[npt.NDArray[np.float32]], block: npt.NDArray[np.float32]) -> None:
    if len(waiting) < _WAITING:
        waiting.append(block)
