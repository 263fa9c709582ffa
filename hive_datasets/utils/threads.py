"""Calling a function with many items in a few threads, so that Ctrl-C loses nothing and always works."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Any, TypeVar

#: A thread hands its results over when it has so many, or so long after the last time.
_HANDOVER_RESULTS = 256
_HANDOVER_SECONDS = 0.5
#: After an interruption, items that were begun are waited for so long, in seconds: a server may hang.
_PATIENCE_SECONDS = 1.0
#: This thread wakes so often while it waits: Ctrl-C that comes just before a wait without end is seen after it only.
_WAKE_SECONDS = 1.0
#: Items begun ahead of the result that is waited for, a thread.
ITEMS_AHEAD = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def call_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int, handle: Callable[[Result], Any]
) -> None:
    """Call `function` with every item in `jobs` threads, and `handle` with every result in this one.

    Results are handed over some at a time: waking this thread for each would cost more than a header. Whatever ends
    this early, Ctrl-C too, the items begun are finished and their results handled.

    Example:
        >>> results = []
        >>> call_in_threads(lambda item: item * item, range(5), 2, results.append)
        >>> sorted(results)
        [0, 1, 4, 9, 16]
    """
    shared = iter(items)
    #: Filled by the threads themselves: what a queue hands over is lost if Ctrl-C comes just then.
    received: deque[Result] = deque()
    #: True: there is more; None: a thread has ended; or the error that ended it.
    news: queue.SimpleQueue[bool | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        done: list[Result] = []
        due = time.monotonic() + _HANDOVER_SECONDS
        failure = None
        try:
            for item in shared:
                done.append(function(item))
                if len(done) >= _HANDOVER_RESULTS or time.monotonic() > due:
                    received.extend(done)
                    news.put(True)
                    done, due = [], time.monotonic() + _HANDOVER_SECONDS
                if stopped.is_set():
                    break
        except BaseException as error:
            failure = error
        received.extend(done)
        news.put(failure)

    def handle_received() -> None:
        while received:
            handle(received.popleft())

    # daemons: one that hangs does not keep the process from ending
    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    working = jobs
    try:
        for thread in threads:
            thread.start()
        while working:
            told = _get(news)
            handle_received()
            working -= told is not True
            if isinstance(told, BaseException):
                raise told
    except BaseException:
        stopped.set()
        _join(threads)
        handle_received()
        raise


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int, ahead: int = ITEMS_AHEAD
) -> Iterator[Result]:
    """The results of calling `function` with every item in `jobs` threads, in the order of the items.

    No more than a few items a thread, `ahead`, are taken ahead of the results, so that memory stays flat. Whatever ends
    this early, the items begun are finished, unless that takes longer than a moment, and the others are not begun.

    Example:
        >>> list(map_in_threads(lambda item: item * item, range(5), 2))
        [0, 1, 4, 9, 16]
    """
    todo: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()

    def work() -> None:
        while (task := todo.get()) is not None:
            item, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(item))
                except BaseException as error:
                    future.set_exception(error)

    # daemons, not a pool: one that hangs does not keep the process from ending
    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    begun: deque[Future[Result]] = deque()
    try:
        for thread in threads:
            thread.start()
        for item in items:
            begun.append(Future())
            todo.put((item, begun[-1]))
            if len(begun) > ahead * jobs:
                yield _await(begun.popleft())
        while begun:
            yield _await(begun.popleft())
    finally:
        for future in begun:
            future.cancel()
        for _ in threads:
            todo.put(None)
        _join(threads)


def _get(news: queue.SimpleQueue[Any]) -> Any:
    """What comes next; see `_WAKE_SECONDS`."""
    while True:
        with contextlib.suppress(queue.Empty):
            return news.get(timeout=_WAKE_SECONDS)


def _await(future: Future[Result]) -> Result:
    """The result of a future; see `_WAKE_SECONDS`."""
    while not future.done():
        wait([future], timeout=_WAKE_SECONDS)
    return future.result()


def _join(threads: list[threading.Thread]) -> None:
    """Wait a moment for those that have begun."""
    end = time.monotonic() + _PATIENCE_SECONDS
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, end - time.monotonic()))
