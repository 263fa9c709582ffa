import itertools
import threading

import pytest

from hive_datasets import threads
from hive_datasets.threads import call_in_threads


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
