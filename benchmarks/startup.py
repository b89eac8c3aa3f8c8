"""How long the program takes to start: its help, and scoring up to the end of the first batch.

    python benchmarks/startup.py --checkpoint=FOLDER [--out=startup.json]

Each is a program of its own: seconds and CPU seconds, all of the runs and the least. Scoring takes
one text, so one batch, into a new store; the first run finds no compiled program and no tokenizer
in the user's cache folder, the others do.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from jaxmap.benchmarking.report import this_machine

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A folder with a model.", required=True)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Runs of each.")
_OUT = flags.DEFINE_string("out", None, "A .json for all of it.")


def run(cache: str, *arguments: str) -> tuple[float, float]:
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    clock, before = time.perf_counter(), cpu()
    subprocess.run(
        [sys.executable, "-m", "jaxmap", *arguments],
        env={**os.environ, "XDG_CACHE_HOME": cache},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - clock, cpu() - before


def main(_) -> None:
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.txt"
        texts.write_text("Of many things, one is enough to begin with.\n")
        score = ["score", f"--texts={texts}", f"--models={_CHECKPOINT.value}"]
        found["help"] = [run(folder, "--help") for _ in range(_REPEATS.value)]
        stores = [f"--store={folder}/store{i}" for i in range(_REPEATS.value + 1)]
        first, *others = [run(folder, *score, store) for store in stores]
        found |= {"first score, nothing cached": [first], "score": others}
    for name, pairs in found.items():
        clock, cpu = (min(one) for one in zip(*pairs, strict=True))
        print(f"{name:<28} {clock:.2f} s, {cpu:.2f} s of CPU")
    if _OUT.value:
        facts = {"machine": this_machine(), "checkpoint": Path(_CHECKPOINT.value).name, **found}
        Path(_OUT.value).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
