import itertools
import threading

import pytest

from hive_datasets.utils import threads
from hive_datasets.utils.threads import call_in_threads, map_in_threads


def test_every_item_once_and_handled_here():
    handled = []
    call_in_threads(lambda item: (item, threading.get_ident()), range(5000), 4, lambda result: handled.append(result))
    assert sorted(item for item, _ in handled) == list(range(5000))
    assert threading.get_ident() not in {thread for _, thread in handled}


def test_an_error_arrives_and_what_was_done_is_handled():
    def fail(item):
        if item == 100:
            raise KeyError("odd")
        return item

    handled = []
    with pytest.raises(KeyError, match="odd"):
        call_in_threads(fail, range(1000), 1, handled.append)
    assert handled == list(range(100))


def test_an_interruption_loses_nothing_that_was_begun():
    handled = []

    def handle(result):
        handled.append(result)
        if len(handled) == 300:
            raise KeyboardInterrupt

    done = []
    with pytest.raises(KeyboardInterrupt):
        call_in_threads(lambda item: done.append(item) or item, itertools.count(), 2, handle)
    assert sorted(handled) == sorted(done)


def test_a_function_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(threads, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_HANDOVER_RESULTS", 1)
    released = threading.Event()

    def hang(item):
        if item:
            released.wait()
        return item

    def interrupt(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_in_threads(hang, [0, 1], 2, interrupt)
    released.set()


def test_results_come_in_order_and_few_items_are_taken_ahead():
    taken = []
    results = map_in_threads(lambda item: item * item, (taken.append(item) or item for item in range(1000)), 2)
    assert taken == []
    for item, result in enumerate(results):
        assert result == item * item
        assert len(taken) <= item + 6
    assert len(taken) == 1000


def test_an_error_ends_the_map_and_what_was_not_begun_is_not():
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        list(map_in_threads(work, itertools.count(), 2))
    assert len(begun) < 20


def test_a_map_that_is_left_early_ends_its_threads():
    before = threading.active_count()
    results = map_in_threads(lambda item: item, itertools.count(), 3)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert threading.active_count() == before
