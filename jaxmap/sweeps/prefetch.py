"""Results made before they are asked for: in a thread, in order, a bounded number waiting."""

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
    """Seconds since it was made: `wall`, and `idle`, in which the process had nothing to compute
    but waited, as for a disk. To be kept from a processor by others is not idle."""

    def __init__(self) -> None:
        self._wall, self._busy = time.perf_counter(), _busy_seconds()

    @property
    def wall(self) -> float:
        return time.perf_counter() - self._wall

    @property
    def idle(self) -> float:
        return max(0.0, self.wall - max(0.0, _busy_seconds() - self._busy))


def _busy_seconds() -> float:
    """Seconds that the threads of this process computed, or stood in line for a processor."""
    delays = 0
    for path in glob.glob("/proc/self/task/*/schedstat"):  # Linux
        with contextlib.suppress(OSError, ValueError, IndexError), open(path) as file:
            delays += int(file.read().split()[1])
    return time.process_time() + delays / 1e9


class _Raised:
    def __init__(self, error: BaseException):
        self.error = error


class Prefetcher(Generic[T, R]):
    """The results of a function on the items of a source, in order.

    Each is made when it is asked for; after `start`, in a thread that is at most `depth` results
    ahead, the one in the making included: it begins another only once one was taken. An
    exception of the source or of the function is raised where its result would come.

    Args:
      source: the items.
      function: makes a result of an item.
      join_s: seconds that `close` waits for the thread; one that waits for the network longer is
        left behind.
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
        return self._thread is not None

    def start(self, depth: int = 1) -> None:
        """Makes results in advance from now on; may be called between two of them."""
        if self._thread is None:
            for _ in range(depth):
                self._slots.release()
            # A daemon: a download that hangs must not keep a program that was told to end.
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        # No name may keep the last result: a checkpoint in memory would outlive its use.
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
        """Ends the thread after what it is at; returns whether it has ended."""
        self._closed.set()
        self._slots.release()
        if self._thread is None:
            return True
        self._thread.join(self._join_s)
        self._results.put(_END)  # whoever waits for a result need not
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
