"""Computes results in advance: in a thread, in order, with a bounded number waiting."""

from __future__ import annotations

import contextlib
import glob
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREAD_NAME = "prefetch"
_END = object()


class Stopwatch:
    """Measures seconds since it was made: `wall`, and `idle`.

    Idle time is time in which the process waited, as for a disk, without anything to compute.
    Waiting for a processor that others use is not idle time.
    """

    def __init__(self) -> None:
        self._wall, self._busy = time.perf_counter(), _busy_seconds()

    @property
    def wall(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._wall

    @property
    def idle(self) -> float:
        """Seconds of these in which the process waited, without anything to compute."""
        return max(0.0, self.wall - max(0.0, _busy_seconds() - self._busy))


def _busy_seconds() -> float:
    """Seconds that the threads of this process computed or waited for a processor."""
    delays = 0
    for path in glob.glob("/proc/self/task/*/schedstat"):  # Linux
        with contextlib.suppress(OSError, ValueError, IndexError), open(path) as file:
            delays += int(file.read().split()[1])
    return time.process_time() + delays / 1e9


class _Raised:
    def __init__(self, error: BaseException):
        self.error = error


class Prefetcher(Generic[T, R]):
    """Iterates over the results of a function on the items of a source, in order.

    A result is computed when it is needed; after `start`, by a thread that is at most `depth`
    results ahead, including the one in progress. An exception of the source or of the function is
    raised in place of the result.

    Args:
      source: the items.
      function: item -> result.
      join_s: seconds that `close` waits for the thread; after that it is abandoned.
    """

    def __init__(self, source: Iterable[T], function: Callable[[T], R], *, join_s: float = 5.0):
        self._source = iter(source)
        self._function = function
        self._join_s = join_s
        self._results: queue.SimpleQueue = queue.SimpleQueue()
        self._slots = threading.Semaphore(0)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    def start(self, depth: int = 1) -> None:
        """Computes results in advance from now on; may be called at any time."""
        if self._thread is None:
            for _ in range(depth):
                self._slots.release()
            # A daemon thread, so that a hanging download does not keep the program from ending.
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        # No variable may keep the last result: a checkpoint would stay in memory.
        if self._thread is None:
            return self._function(next(self._source))
        result = self._results.get()
        self._slots.release()
        if result is _END:
            self._results.put(_END)
            raise StopIteration
        if isinstance(result, _Raised):
            self._results.put(_END)
            raise result.error
        return result

    def close(self) -> bool:
        """Ends the thread after its present item; returns whether it has ended."""
        self._closed.set()
        self._slots.release()
        if self._thread is None:
            return True
        self._thread.join(self._join_s)
        self._results.put(_END)  # wakes a thread that waits for a result
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._slots.acquire()
            if self._closed.is_set():
                self._results.put(_END)
                return
            try:
                self._results.put(self._function(next(self._source)))
            except StopIteration:
                self._results.put(_END)
                return
            except BaseException as error:
                self._results.put(_Raised(error))
                return
