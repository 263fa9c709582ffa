"""A loop that goes over the samples once where numpy goes over them thrice, where the package `numba` is installed.

It computes what numpy does, bit for bit. Compiling takes half a second, once a process, when it is first used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def find_fused_scale() -> Callable[..., None] | None:
    """The compiled loop; None where `numba` is not installed (``pip install "hive-datasets[fast]"``).

    Its arguments are (stored, gains, head, block, out, total, is_first), and what it does is ``out = stored * gain``,
    with the first of `gains` for `head` samples and the next for each `block` samples after them; and ``total += out``,
    or ``total = out`` if it is the first, unless `total` is None. Other threads run meanwhile.
    """
    try:
        import numba
    except ImportError:
        return None

    @numba.njit(nogil=True)
    def scale(stored: Any, gains: Any, head: int, block: int, out: Any, total: Any, is_first: bool) -> None:
        start, stop = 0, min(head, len(out))
        for gain in gains:
            # slices, within which the compiler knows that no index is out of range
            source, target = stored[start:stop], out[start:stop]
            if total is None:
                for i in range(len(source)):
                    target[i] = source[i] * gain
            elif is_first:
                added = total[start:stop]
                for i in range(len(source)):
                    target[i] = added[i] = source[i] * gain
            else:
                added = total[start:stop]
                for i in range(len(source)):
                    target[i] = source[i] * gain
                    added[i] += target[i]
            start, stop = stop, min(stop + block, len(out))

    compiled: Callable[..., None] = scale
    return compiled
