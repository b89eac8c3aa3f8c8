"""Many workers on one store over a network's file system: each piece of work is done once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support import REPOSITORY

from jaxmap.store import Store
from jaxmap.store.claims import FOLDER

# A process of many workers, each a thread with a store, claims and a heartbeat of its own. A worker
# that dies stops beating and gives nothing back, as a killed process does.
PROCESS = """
import random, sys, threading, time
from pathlib import Path

seed, workers, tasks, dying = map(int, sys.argv[2:6])
folder, done = Path(sys.argv[1]), open(sys.argv[6], "a", buffering=1)
from support.network_disk import install
from support.stores import record, texts
from jaxmap.store import Item, Store
from jaxmap.store import heartbeat as beats
from jaxmap.store.claims import Claims
from jaxmap.store.heartbeat import Heartbeat, Workers

install(seed)
beats._place = lambda: threading.current_thread().name  # every worker on a machine of its own
TEXTS = texts(4)


def work(number):
    rng = random.Random(number)
    store, beat = Store.open(folder), Heartbeat(folder, tasks, interval=0.5)
    beat._facts["place"] = f"place-{number}"
    beat.__enter__()
    claims = Claims(folder, beat.name, Workers(folder, lost=5.0))
    left = list(range(tasks))
    rng.shuffle(left)
    dies = number % workers < dying
    while left:
        busy = []
        for task in left:
            item = Item(f"org/m{task}")
            if store.is_done(item) or not claims.take(f"org/m{task}"):
                if not store.is_done(item):
                    busy.append(task)
                continue
            if not store.is_done(item):
                if dies:
                    beat._stop.set()
                    return
                time.sleep(rng.uniform(0, 0.02))
                store.add(record(TEXTS, f"org/m{task}"))
                done.write(f"{task}\\n")
            claims.release(f"org/m{task}")
        left = busy
        time.sleep(rng.uniform(0.1, 0.5) if left else 0)
    beat.__exit__()


threads = [
    threading.Thread(target=work, args=(seed * workers + n,), name=f"worker-{seed}-{n}")
    for n in range(workers)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def run(folder: Path, processes: int, workers: int, tasks: int, dying: int) -> dict[str, float]:
    """All workers to the end; what came of it."""
    from support.stores import texts

    Store.create(folder / "store", texts(4))
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    began = time.monotonic()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder / "store"), str(seed), str(workers),
             str(tasks), str(dying if seed == 0 else 0), str(folder / f"done-{seed}")],
            env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE, text=True,
        )
        for seed in range(processes)
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
    seconds = time.monotonic() - began
    lines = [line for seed in range(processes)
             for line in (folder / f"done-{seed}").read_text().split()]  # fmt: skip
    counts = Counter(lines)
    return {
        "done": len(counts),
        "twice": sum(count > 1 for count in counts.values()),
        "records": len(Store.open(folder / "store").records()),
        "claims_left": len(list((folder / "store" / FOLDER).glob("[!.]*.json"))),
        "seconds": seconds,
        "tasks_per_second": len(counts) / seconds,
    }


@pytest.mark.parametrize(
    ("processes", "workers", "tasks", "dying"),
    [
        (2, 12, 40, 3),
        pytest.param(16, 64, 1200, 10, marks=pytest.mark.slow),
    ],
    ids=["24 workers", "1024 workers"],
)
def test_each_piece_of_work_is_done_once(tmp_path, processes, workers, tasks, dying):
    found = run(tmp_path, processes, workers, tasks, dying)
    print(json.dumps(found))
    assert found["done"] == found["records"] == tasks
    assert found["twice"] == 0
    assert found["claims_left"] == 0
