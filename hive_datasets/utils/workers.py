"""Calling a function with many tasks in worker processes, which end when this process does.

A pipe for each worker, and nothing else: no queue or lock that a process which is killed could leave behind.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ..errors import HiveError
from .interrupts import interrupts_held_back

Task = TypeVar("Task")
Result = TypeVar("Result")
#: Is called with a task, and a function to tell progress to.
Work = Callable[[Task, Callable[[int], Any]], Result]
#: What a pipe raises whose other end is gone.
_NOBODY_THERE = (EOFError, BrokenPipeError, ConnectionResetError)


def map_in_processes(
    function: Work[Task, Result], tasks: Iterable[Task], num_workers: int, advance: Callable[[int], Any]
) -> Iterator[Result]:
    """The results of calling `function` with every task, as they come; with one worker, in this process.

    Whatever ends this early, Ctrl-C too, ends the workers.

    Raises:
        HiveError: a worker was killed, by the system for want of memory, say.
    """
    if num_workers == 1:
        for task in tasks:
            yield function(task, advance)
        return
    todo = iter(tasks)
    processes: list[multiprocessing.process.BaseProcess] = []
    connections: list[Connection] = []
    busy: list[Connection] = []

    def give_task(connection: Connection) -> None:
        for task in itertools.islice(todo, 1):
            _send(connection, task)
            busy.append(connection)

    try:
        for _ in range(num_workers):  # all at once: each takes a second until it is ready for what it is given
            with interrupts_held_back():
                process, connection = _start_worker(function)
                processes.append(process)
                connections.append(connection)
        for connection in connections:
            give_task(connection)
        while busy:
            ready = wait(busy)
            for connection in [each for each in busy if each in ready]:
                done, result = _receive(connection)
                advance(done)
                if result is not None:
                    busy.remove(connection)
                    give_task(connection)
                    yield result[0]
    finally:
        for process in processes:
            process.kill()  # if it is at something still, that is lost
            process.join()


def _start_worker(function: Work[Task, Result]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # threads and locks do not survive a fork
    near, far = context.Pipe()
    process = context.Process(target=_work, args=(far, function), daemon=True)
    with _interrupts_hidden():
        process.start()
    far.close()
    return process, near


@contextlib.contextmanager
def _interrupts_hidden() -> Iterator[None]:
    """Processes begun here never see Ctrl-C, which is for the one that began them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(connection: Connection, task: Any) -> None:
    try:
        connection.send(task)
    except ConnectionError:
        raise _killed() from None


def _receive(connection: Connection) -> tuple[int, list[Any] | None]:
    """What a worker tells: progress, and a list of its result when it has one."""
    try:
        done, result, error = connection.recv()
    except (EOFError, ConnectionError):
        raise _killed() from None
    if error is not None:
        raise error
    return done, result


def _killed() -> HiveError:
    return HiveError(
        "a worker process was killed, perhaps for want of memory: what was finished is kept; run it again to go on, "
        'with fewer workers. (A script that starts workers must do so below `if __name__ == "__main__":`.)'
    )


def _work(connection: Connection, function: Work[Task, Result]) -> None:
    """In a worker: do what comes, until nobody is there to tell."""
    try:
        while True:
            task = connection.recv()
            try:
                result = function(task, lambda done: connection.send((done, None, None)))
            except _NOBODY_THERE:
                raise
            except Exception as error:
                connection.send((0, None, error))
            else:
                connection.send((0, [result], None))
    except _NOBODY_THERE:
        pass
