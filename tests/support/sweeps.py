"""Sweeps in this process and in others, and what a store comes to."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.checkpoint.refs import parse_refs
from jaxmap.corpus.texts import load_texts
from jaxmap.store import Store
from jaxmap.store.record_files import read_record
from jaxmap.sweeps.outcome import Outcome
from jaxmap.sweeps.run import score_models
from jaxmap.sweeps.settings import PLAIN, Settings
from support.checkpoints import NO_TORCH, TEXTS, Ran, caches, jaxmap, make_checkpoint, write_texts

STEPS = (0, 1, 2, 4, 8, 16)  # of the runs that most tests sweep
# A sweep of them that does all at once.
ALL = dict(lens=True, quantize=("none", "int8"), weight_distance=2)

# Waits for the Hub are cut short; what is scored and loaded is written down; before one batch the
# process waits until a file is there.
_PROGRAM = (
    NO_TORCH
    + """
import os, time
really = time.sleep
time.sleep = lambda seconds: really(min(seconds, 0.05))
log, pause = os.environ["SWEEP_LOG"], float(os.environ["SWEEP_PAUSE"])
hold, go, begun = int(os.environ["SWEEP_HOLD"]), os.environ["SWEEP_GO"], 0

def note(word):
    with open(log, "a") as file:
        file.write(word + "\\n")

from jaxmap.checkpoint import weights
from jaxmap.engine import scorer
score, load = scorer.Scorer.score_batch, weights.load

def score_batch(self, *arguments, **options):
    global begun
    note("batch")
    begun += 1
    end = time.monotonic() + 900
    while begun == hold and not os.path.exists(go) and time.monotonic() < end:
        really(0.01)
    really(pause)
    return score(self, *arguments, **options)

def loaded(folder, **options):
    note(f"load {folder.name}")
    return load(folder, **options)

scorer.Scorer.score_batch, weights.load = score_batch, loaded
from jaxmap.cli import main
main()
"""
)


def family(folder: Path, steps: Sequence[int], runs: int = 1, **changes) -> Path:
    """Tiny runs whose weights drift; folder/runN/stepM."""
    for run in range(runs):
        for i, step in enumerate(steps):
            make_checkpoint(
                folder / f"run{run}" / f"step{step}", seed=100 * run + i, spread=0.2, **changes
            )
    return folder


def write_config(path: Path, models: Sequence[str], texts: Path, **fields: object) -> Path:
    fields = {"models": tuple(models), "texts": str(texts), **fields}
    lines = ["from jaxmap.sweeps.config_schema import config_dict", "", "def get_config():"]
    path.write_text("\n".join([*lines, f"    return config_dict(**{fields!r})"]) + "\n")
    return path


def config_of(place: Path, **fields: object) -> Path:
    """The config of a sweep of `family(place, STEPS)` on `place`/texts.jsonl."""
    models = [f"{place}/run0@step{{{','.join(map(str, STEPS))}}}"]
    return write_config(place / "config.py", models, place / "texts.jsonl", **fields)


def sweep(config: Path, store: Path, *extra: str) -> Ran:
    """`jaxmap sweep` in this process."""
    return jaxmap("sweep", f"--config={config}", f"--store={store}", *extra)


def run(
    store: Path, texts: Path, models: Sequence[object], settings: Settings = PLAIN, **options: Any
) -> Outcome:
    """What `jaxmap score` does, in this process, with settings and limits as objects."""
    loaded = load_texts(texts)
    refs = [ref for model in models for ref in parse_refs(str(model))]
    return score_models(refs, loaded, Store.create(store, loaded), settings, **options)


class Process:
    """`jaxmap sweep` (or another command) in a process of its own, that can be killed.

    `batches` counts the batches that were begun, `loads` names the folders that were loaded.

    Args:
      arguments: the command and its flags.
      log: the file in which the process notes batches and loads.
      pause: seconds that it waits before each batch.
      hold: the number of the batch, from 1, before which it waits until `go` is called; 0: none.
      env: further environment variables.
    """

    def __init__(
        self,
        *arguments: str,
        log: Path,
        pause: float = 0.0,
        hold: int = 0,
        env: dict[str, str] | None = None,
    ):
        self._log, self._go = log, log.with_name(f"{log.name} go")
        log.touch()
        self._begun = len(log.read_text().splitlines())
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments],
            env={
                **os.environ,
                "XDG_CACHE_HOME": caches(),
                "SWEEP_LOG": str(log),
                "SWEEP_PAUSE": str(pause),
                "SWEEP_HOLD": str(hold),
                "SWEEP_GO": str(self._go),
                **(env or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def go(self) -> None:
        """Lets the process score the batch before which it waits."""
        self._go.touch()

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()[self._begun :]

    @property
    def batches(self) -> int:
        return self.lines().count("batch")

    @property
    def loads(self) -> list[str]:
        return [line.removeprefix("load ") for line in self.lines() if line.startswith("load ")]

    def wait_for(self, lines: int, deadline: float = 600.0) -> bool:
        """Until so many things were done; false when the process ended before."""
        end = time.monotonic() + deadline
        while len(self.lines()) < lines:
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < end, self.finish(kill=True)
            time.sleep(0.002)
        return True

    def finish(self, *, kill: bool = False, timeout: float = 600.0) -> tuple[int, str]:
        if kill:
            self.process.kill()
        try:
            output, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            raise AssertionError(f"hangs: {output}") from None
        return self.process.returncode, output


def contents(store: Path) -> dict[str, bytes]:
    """What of a store is a result: names of all files of records and of weights, array bits."""
    found = {}
    for path in sorted((store / "records").glob("[!.]*")):
        record = read_record(path)
        found[path.name] = b"".join(array.tobytes() for _, array in sorted(record.arrays.items()))
    for path in sorted((store / "weights").glob("[!.]*")):
        found[path.name] = path.read_bytes()
    return found


def is_clean(store: Path) -> None:
    """Nothing of the work itself is left over, and nothing is open."""
    assert not list(store.rglob("*.tmp"))
    for folder in ("partial", "claims"):  # a dead worker's note goes with the next that begins
        assert not list((store / folder).glob("*")), folder
    opened = Store.open(store)
    assert (opened.missing(), opened.failures(), opened.corrupt()) == ([], [], {})


def truncate_a_record(store: Path, moments: random.Random) -> Path:
    path = moments.choice(sorted((store / "records").glob("[!.]*")))
    content = path.read_bytes()
    path.write_bytes(content[: moments.randrange(len(content))])
    return path


def many_texts(path: Path, count: int = 60) -> Path:
    """Texts of several batches of 128 tokens."""
    moments = np.random.default_rng(5)
    words = " ".join(TEXTS).split()
    return write_texts(path, [" ".join(moments.choice(words, 12)) for _ in range(count)])
