"""Letting Ctrl-C wait."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


def _never() -> bool:
    return False


@contextlib.contextmanager
def interrupts_held_back(unless: Callable[[], bool] = _never) -> Iterator[None]:
    """What is done here is not interrupted: Ctrl-C comes at its end.

    In a callback of libsndfile it would be lost, or take the process down.

    Args:
        unless: asked when Ctrl-C comes, whether it may come at once.

    Example:
        >>> with interrupts_held_back():
        ...     "in one piece"
        'in one piece'
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield
        return
    held: list[tuple[int, FrameType | None]] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if unless():
            previous(number, frame)
        else:
            held.append((number, frame))

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if held:
            previous(*held[0])
