"""Work ahead: order, bounds, errors, the end."""

from __future__ import annotations

import threading
import time
import weakref

import pytest

from jaxmap.sweeps.prefetch import THREAD_NAME, Prefetcher, Stopwatch


class Thing:
    def __init__(self, number: int):
        self.number = number


def test_waiting_is_told_from_computing():
    watch = Stopwatch()
    time.sleep(0.2)
    assert 0.15 < watch.idle <= watch.wall
    idle = []
    for _ in range(20):  # until no other program takes the core meanwhile
        watch, end = Stopwatch(), time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
        assert watch.wall >= 0.09
        idle.append(watch.idle)
        if idle[-1] < 0.05:
            break
    assert min(idle) < 0.05


def test_order_with_and_without_a_thread():
    for start_at in (0, 3, 99):
        ahead = Prefetcher(range(7), lambda n: n * n)
        seen = []
        for i in range(7):
            if i == start_at:
                ahead.start(2)
            seen.append(next(ahead))
        assert next(ahead, None) is None
        assert seen == [n * n for n in range(7)]
        assert ahead.close()


def test_at_most_one_waits():
    """One in use and one more: never a third, which would be another model in memory."""
    alive: weakref.WeakSet[Thing] = weakref.WeakSet()
    most = 0

    def make(n: int) -> Thing:
        nonlocal most
        thing = Thing(n)
        alive.add(thing)
        most = max(most, len(alive))
        return thing

    ahead = Prefetcher(range(12), make)
    ahead.start()
    thing = None
    for n in range(12):
        thing = None  # as a checkpoint that was scored is dropped before the next is taken
        thing = next(ahead)
        assert thing.number == n
        time.sleep(0.005)  # for the thread to go further than it may
        most = max(most, len(alive))
    assert most == 2
    ahead.close()


def test_depth_bounds_what_is_ahead():
    made: list[int] = []
    ahead = Prefetcher(range(20), lambda n: made.append(n) or n)
    ahead.start(3)
    for n in range(5):
        deadline = time.monotonic() + 60
        while len(made) < n + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.005)
        assert len(made) == n + 3
        assert next(ahead) == n
    assert ahead.close()


def test_an_error_comes_in_its_place():
    def work(n: int) -> int:
        if n == 2:
            raise OSError("no")
        return n

    for start in (False, True):
        ahead = Prefetcher(range(5), work)
        if start:
            ahead.start(4)
        assert [next(ahead), next(ahead)] == [0, 1]
        with pytest.raises(OSError, match="no"):
            next(ahead)
        assert ahead.close()


def test_one_ahead_of_another_can_be_closed_at_any_moment():
    for turns in range(4):
        first = Prefetcher(iter(range(10**9)), lambda n: n)
        second = Prefetcher(first, lambda n: n + 1)
        first.start(2)
        second.start(1)
        assert [next(second) for _ in range(turns)] == list(range(1, turns + 1))
        assert first.close()
        assert second.close()
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_a_thread_that_hangs_is_left():
    hang = threading.Event()
    first = Prefetcher(range(3), lambda n: hang.wait() and n, join_s=0.05)
    second = Prefetcher(first, lambda n: n)
    first.start()
    second.start()
    assert not first.close()
    assert next(second, None) is None
    assert second.close()
    hang.set()
