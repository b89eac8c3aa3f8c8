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
import json, random, sys, threading, time
from pathlib import Path

seed, dying, case = int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[5])
folder, done = Path(sys.argv[1]), open(sys.argv[4], "a", buffering=1)
workers, tasks, beat_s, patience = (
    case[name] for name in ("workers", "tasks", "beat_s", "patience")
)
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
    store, beat = Store.open(folder), Heartbeat(folder, tasks, interval=beat_s)
    beat._facts["place"] = f"place-{number}"
    beat.__enter__()
    claims = Claims(folder, beat.name, Workers(folder, lost=10 * beat_s))
    left = list(range(tasks))
    rng.shuffle(left)
    dies = number % workers < dying
    while left:
        busy = []
        for place, task in enumerate(left):
            if len(busy) == patience:  # others are at all of these: later
                busy += left[place:]
                break
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
        rng.shuffle(left)
        time.sleep(rng.uniform(0.2, 1) * beat_s if left else 0)
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


def run(folder: Path, case: dict[str, float]) -> dict[str, float]:
    """All workers to the end; what came of it."""
    from support.stores import texts

    Store.create(folder / "store", texts(4))
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    began = time.monotonic()
    processes = range(int(case["processes"]))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder / "store"), str(seed),
             str(case["dying"] if seed == 0 else 0), str(folder / f"done-{seed}"),
             json.dumps(case)],
            env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE, text=True,
        )
        for seed in processes
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
    seconds = time.monotonic() - began
    lines = [line for seed in processes
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


# A worker that meets `patience` pieces of work that others are at rests for a beat or less. Those
# of the many beat as seldom as real ones, so that two cores can play all of them.
FEW = dict(processes=2, workers=12, tasks=40, dying=3, beat_s=0.5, patience=40)
MANY = dict(processes=4, workers=256, tasks=1200, dying=10, beat_s=5.0, patience=20)


@pytest.mark.parametrize(
    "case", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["24 workers", "1024 workers"]
)
def test_each_piece_of_work_is_done_once(tmp_path, case):
    found = run(tmp_path, case)
    print(json.dumps(found))
    assert found["done"] == found["records"] == case["tasks"]
    assert found["twice"] == 0
    assert found["claims_left"] == 0
