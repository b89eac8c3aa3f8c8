"""Many workers on one store over a network's file system: each piece of work is done once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY, many_workers
from support.many_workers import Case

from jaxmap.store import Store
from jaxmap.store.claims import FOLDER

# Those of the many beat as seldom as real ones, so that two cores can play all of them, and each
# piece of their work is in the shares of 32.
FEW = Case(
    processes=2, workers=12, tasks=40, share=40, dying=3, beat_s=0.5, patience=40, work_s=0.01
)
MANY = Case(
    processes=32, workers=32, tasks=2048, share=64, dying=10, beat_s=5.0, patience=20, work_s=10.0
)


def run(folder: Path, case: Case) -> dict[str, Any]:
    """All workers to the end; what came of it."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, many_workers.__file__, folder / "store", json.dumps(asdict(case))],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=1800, check=True,
    )  # fmt: skip
    seconds = time.monotonic() - began
    found = json.loads(ran.stdout)
    assert set(found["codes"]) == {0}, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    counts = Counter(
        line for path in folder.glob("done-*") for line in path.read_text().splitlines()
    )
    return {
        **found,
        "done": len(counts),
        "twice": sum(count > 1 for count in counts.values()),
        "records": len(Store.open(folder / "store").records()),
        "claims_left": len(list((folder / "store" / FOLDER).glob("[!.]*.json"))),
        "seconds": seconds,
        "tasks_per_second": len(counts) / seconds,
        "cpu_ms_a_task": 1e3 * found["cpu_s"] / len(counts),
    }


@pytest.mark.parametrize(
    "case", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["24 workers", "1024 workers"]
)
def test_each_piece_of_work_is_done_once(tmp_path, case):
    found = run(tmp_path, case)
    print(json.dumps(found))
    assert found["done"] == found["records"] == case.tasks
    assert found["twice"] == 0
    assert found["claims_left"] == 0
