"""Going on when memory runs out: with half the batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import BackendError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_halves(function: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """Call a function with all items; when memory runs out, with half of them, and then the other half, and so on.

    Raises:
        BackendError: memory does not suffice for one.

    Example:
        >>> def double(numbers):
        ...     if len(numbers) > 2:
        ...         raise MemoryError
        ...     return [2 * number for number in numbers]
        >>> in_halves(double, [1, 2, 3, 4, 5])
        [2, 4, 6, 8, 10]
    """
    try:
        return function(items)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        if len(items) < 2:
            raise BackendError(f"memory does not suffice for one clip: {str(error)[:200]}") from None
    # outside of the except, so that what the error holds of the failed batch is free
    _empty_cache()
    middle = len(items) // 2
    return in_halves(function, items[:middle]) + in_halves(function, items[middle:])


def _is_out_of_memory(error: Exception) -> bool:
    """Of the accelerators, PyTorch has an exception, older ones and the CPU's allocator but words."""
    name = type(error).__name__
    return (
        isinstance(error, MemoryError)
        or name == "OutOfMemoryError"
        or (
            isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
        )
    )


def _empty_cache() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
