"""Threads that run ahead of their caller or behind it."""

import threading
import time

import pytest

from m3eval.threads import ahead, behind


def test_ahead_gives_the_items_in_their_order():
    with ahead(range(5), 2) as items:
        assert list(items) == [0, 1, 2, 3, 4]


def test_ahead_raises_an_error_in_its_place_and_passes_exceptions_that_are_items():
    def source():
        yield ValueError("an item")
        raise KeyError("the error")

    with ahead(source()) as items:
        assert isinstance(next(items), ValueError)
        with pytest.raises(KeyError, match="the error"):
            next(items)


def test_ahead_draws_no_further_than_it_may_and_stops_with_the_block():
    drawn, threads = [], threading.active_count()

    def source():
        for i in range(100):
            drawn.append(i)
            yield i

    with ahead(source(), 1) as items:
        assert next(items) == 0
        time.sleep(0.05)
    # One received, one in the queue, one that waits for room in it.
    assert len(drawn) <= 3 and threading.active_count() == threads


def test_behind_keeps_the_order_of_calls_and_waits_at_the_end():
    calls = []

    def call(i):
        time.sleep(0.01)
        calls.append(i)

    with behind() as later:
        for i in range(4):
            later(call, i)
    assert calls == [0, 1, 2, 3]


def test_behind_raises_the_error_of_a_call_at_the_next_or_at_the_end():
    def fail():
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"), behind() as later:
        later(fail)
        later(print)
    with pytest.raises(ValueError, match="failed"), behind() as later:
        later(fail)
