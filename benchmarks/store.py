"""How the cost of reading a store grows with its records.

    python benchmarks/store.py [--records=1000,10000,100000] [--texts=8] [--out=store.json]

For each number of records a store is made with that many checkpoints asked for and scored, and
read in a process of its own:

open: the first reading of all files, each read and checked once.
status: what `jaxmap status` says, without printing it.
resume: what a worker asks for every checkpoint before it finds that nothing is to be done.
find: asking for one checkpoint that is absent, which lists the folder again.
add: keeping one more result.

CPU seconds, the largest memory of the process (VmHWM, Linux), and between each two numbers of
records the exponent of growth: 1 is a cost that is proportional to them.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import app, flags

from jaxmap.store import Identity, Item, Provenance, Record, Store, record_files
from jaxmap.variant import Variant

_RECORDS = flags.DEFINE_list("records", ["1000", "10000", "100000"], "Numbers of records.")
_TEXTS = flags.DEFINE_integer("texts", 8, "Texts of the store.")
_FOLDER = flags.DEFINE_string("folder", None, "Where stores are made; default: a temporary folder.")
_OUT = flags.DEFINE_string("out", None, "A .json for the table.")
_READ = flags.DEFINE_string("read", None, "Inside: the store to read.")
RUN_LENGTH = 154  # checkpoints of a run, as Pythia's
STEPS = ("open", "status", "resume", "find", "add")


@dataclass(frozen=True)
class SomeTexts:
    """What a store needs to know of texts."""

    num_bytes: np.ndarray
    fingerprint: str = "0" * 64
    source: str = "made up"

    def __len__(self) -> int:
        return len(self.num_bytes)


def name(i: int) -> tuple[str, str]:
    """Repository and revision of checkpoint i."""
    run, step = divmod(i, RUN_LENGTH)
    return f"org/model-{run}", f"step{step}"


def record(i: int, num_texts: int) -> Record:
    """A result of checkpoint i."""
    random = np.random.default_rng(i)
    identity = Identity(*name(i), f"{i:040x}", "0" * 64, "t", "none", Variant("float32"))
    arrays = {
        "log_likelihood": random.normal(-100, 10, num_texts),
        "num_tokens": np.full(num_texts, 30, np.int32),
        "num_scored": np.full(num_texts, 29, np.int32),
    }
    return Record(identity, Provenance(num_layers=2, seconds=1.0), arrays)


def make(folder: Path, count: int, num_texts: int) -> None:
    """A store of so many results, all of them asked for. The files are written without flushing
    each to the disk, which is what takes the time of a real one."""
    store = Store.create(folder, SomeTexts(np.full(num_texts, 300)))
    store.ask([Item(*name(i)) for i in range(count)], "jaxmap score")
    entry = store.add(record(0, num_texts))
    for i in range(1, count):
        one = record(i, num_texts)
        path = entry.path.with_name(f"{'-'.join(name(i)).replace('/', '--')}-{i:08x}.safetensors")
        path.write_bytes(record_files.encode(one, 1, num_texts))


def read(folder: Path) -> dict[str, float]:
    """CPU seconds of each step, and the memory that they took, bytes."""
    from jaxmap.store.status import status

    seconds = {}

    def timed(step: str, work: Callable[[], object]) -> None:
        began = time.process_time()
        work()
        seconds[step] = time.process_time() - began

    store = Store.open(folder)
    timed("open", store.entries)
    count = len(store.entries())
    timed("status", lambda: status(store))
    items = store.asked()
    timed("resume", lambda: [store.is_done(item) for item in items])
    timed("find", lambda: store.is_done(Item("org/none")))
    timed("add", lambda: store.add(record(count, len(store.texts.text_bytes))))
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return {**seconds, "peak_bytes": peak}


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected {argv[1:]}")
    if _READ.value:
        print(json.dumps(read(Path(_READ.value))))
        return
    rows: dict[int, dict[str, float]] = {}
    print(f"{'records':>9}" + "".join(f"{step:>10}" for step in STEPS) + f"{'MiB':>8}")
    before = None
    for count in map(int, _RECORDS.value):
        with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
            make(Path(folder) / "store", count, _TEXTS.value)
            ran = subprocess.run(
                [sys.executable, __file__, f"--read={folder}/store"],
                capture_output=True, text=True, check=True,
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )  # fmt: skip
            row = rows[count] = json.loads(ran.stdout)
        cells = "".join(f"{row[step]:10.4f}" for step in STEPS)
        print(f"{count:9d}{cells}{row['peak_bytes'] / 2**20:8.0f}")
        if before is not None:
            ratio = math.log(count / before)
            grown = [math.log(row[step] / rows[before][step]) / ratio for step in STEPS]
            print(f"{'exponent':>9}" + "".join(f"{one:10.2f}" for one in grown))
        before = count
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
