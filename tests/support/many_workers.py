"""Many workers on one store over a network's file system, and what came of their work.

    python many_workers.py STORE CASE

One process imports the store, without JAX, and forks the others. In each there are many workers:
threads with a store, claims and a heartbeat of their own. A worker that dies stops beating and
gives nothing back, as a killed process does.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxmap.store import Item, Store
from jaxmap.store import heartbeat as heartbeats
from jaxmap.store.claims import Claims
from jaxmap.store.heartbeat import Heartbeat, Workers
from support.network_disk import install
from support.stores import record, texts

TEXTS = texts(4)


@dataclass(frozen=True)
class Case:
    """How many work on how much, and for how long."""

    processes: int
    workers: int  # of each process
    tasks: int
    share: int  # pieces of work that a worker is to do, which others are to do as well
    dying: int  # workers that die at their first piece of work
    beat_s: float  # seconds between two beats; after ten without one a worker counts as gone
    patience: int  # pieces of work that others are at, after which a worker rests
    work_s: float  # at most, of a piece of work


class Worker:
    """One worker, to be run in a thread of its own."""

    def __init__(self, path: Path, number: int, case: Case, done: Any):
        self._number, self._case, self._done = number, case, done
        self._store = Store.open(path)
        self._beat = Heartbeat(path, case.tasks, interval=case.beat_s)
        self._beat._facts["place"] = threading.current_thread().name
        self._claims = Claims(path, self._beat.name, Workers(path, lost=10 * case.beat_s))
        self._rng = random.Random(number)

    def run(self) -> None:
        self._beat.__enter__()
        left, waits = self._share(), 0
        while left:
            self._rng.shuffle(left)
            before, left = len(left), self._round(left)
            if self._beat._stop.is_set():  # it died
                return
            if left:
                waits = waits + 1 if len(left) == before else 0
                time.sleep(self._rng.uniform(0.5, 1) * self._case.beat_s * min(2**waits, 8))
        self._beat.__exit__()

    def _share(self) -> list[int]:
        """Neighbouring pieces; together the workers' shares go round all pieces equally often."""
        case = self._case
        first = self._number * case.tasks // (case.processes * case.workers)
        return [(first + i) % case.tasks for i in range(case.share)]

    def _round(self, left: list[int]) -> list[int]:
        """Goes over the work; returns what others are at, and what was not reached."""
        busy: list[int] = []
        for place, task in enumerate(left):
            if len(busy) == self._case.patience:
                return busy + left[place:]
            item = Item(f"org/m{task}")
            if self._store.is_done(item, None, "last"):
                continue
            if not self._claims.take(item.label):
                busy.append(task)
                continue
            if not self._store.is_done(item, None, "server"):
                if self._number < self._case.dying:
                    self._beat._stop.set()
                    return []
                time.sleep(self._rng.uniform(0, self._case.work_s))
                self._store.add(record(TEXTS, item.ref))
                self._done.write(f"{task}\n")
            self._claims.release(item.label)
        return busy


def process(path: Path, seed: int, case: Case) -> None:
    """All workers of one process."""
    install(seed)
    with open(path.parent / f"done-{seed}", "a", buffering=1) as done:

        def work(number: int) -> None:
            Worker(path, number, case, done).run()

        threads = [
            threading.Thread(target=work, args=(number,), name=f"worker_{number}")
            for number in range(seed, case.processes * case.workers, case.processes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> None:
    path, case = Path(sys.argv[1]), Case(**json.loads(sys.argv[2]))
    Store.create(path, TEXTS)
    # Each worker is on a machine of its own.
    heartbeats._place = heartbeats._host = lambda: threading.current_thread().name
    # Hundreds of threads that wait for the interpreter wake up once in such an interval.
    sys.setswitchinterval(0.05)
    children = []
    for seed in range(case.processes):
        child = os.fork()
        if not child:
            code = 1
            try:
                process(path, seed, case)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    used = os.times()
    cpu_s = used.children_user + used.children_system
    print(json.dumps({"case": asdict(case), "codes": codes, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
