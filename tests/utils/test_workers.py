import multiprocessing
import os
import signal
import threading

import pytest

from hive_datasets import HiveError
from hive_datasets.utils.workers import map_in_processes


def square(task, advance):
    advance(task)
    return task * task, os.getpid()


def fail_at_five(task, advance):
    if task == 5:
        raise ValueError("five")
    return task


@pytest.mark.parametrize("num_workers", [1, 2])
def test_all_results_and_all_progress(num_workers):
    told = []
    results = list(map_in_processes(square, range(40), num_workers, told.append))
    assert sorted(result for result, _ in results) == [n * n for n in range(40)]
    assert sum(told) == sum(range(40))
    assert (os.getpid() in {pid for _, pid in results}) == (num_workers == 1)


@pytest.mark.parametrize("num_tasks", [0, 1, 2])
def test_more_workers_than_tasks(num_tasks):
    results = list(map_in_processes(square, range(num_tasks), 3, lambda done: None))
    assert sorted(result for result, _ in results) == [n * n for n in range(num_tasks)]


def measure(task, advance):
    return len(task)


def test_tasks_larger_than_a_pipe_holds():
    tasks = [bytes(3_000_000 + number) for number in range(6)]
    assert sorted(map_in_processes(measure, tasks, 2, lambda done: None)) == [len(task) for task in tasks]


def die(task, advance):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_a_worker_that_dies(size):
    with pytest.raises(HiveError, match="a worker process was killed"):
        list(map_in_processes(die, [bytes(size)] * 5, 2, lambda done: None))


def test_few_tasks_are_taken_ahead():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_in_processes(square, tasks(), 2, lambda done: None)
    next(results)
    assert len(taken) <= 10
    results.close()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_ends_it(num_workers):
    with pytest.raises(ValueError, match="five"):
        list(map_in_processes(fail_at_five, range(100), num_workers, lambda done: None))


def test_workers_end_with_it():
    before = multiprocessing.active_children()
    results = map_in_processes(square, range(100), 2, lambda done: None)
    next(results)
    workers = [process for process in multiprocessing.active_children() if process not in before]
    assert len(workers) == 2
    results.close()
    assert not [worker for worker in workers if worker.is_alive()]


def test_ctrl_c_is_not_lost():
    """It comes at once, even while workers are begun, and they never see it."""
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(map_in_processes(square, iter(int, 1), 2, lambda done: None))
