"""A sweep to which everything happens at once comes to the store of a clean run."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest
from support.checkpoints import jaxmap
from support.hubs import Fake, fake_of, serve
from support.sweeps import (
    Process,
    contents,
    family,
    is_clean,
    many_texts,
    truncate_a_record,
    write_config,
)


def pester(process: Process, store: Path, moments: random.Random, patience: int) -> bool:
    """Kills a sweep at a random moment of its work; false when it ended before."""
    if not process.wait_for(moments.randrange(1, patience)):
        return False
    threading.Event().wait(moments.uniform(0, 0.05))
    process.process.send_signal(moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
    return True


@pytest.mark.parametrize(
    ("runs", "steps", "kills"),
    [(2, 4, 3), pytest.param(5, 12, 30, marks=pytest.mark.slow)],
    ids=["8 checkpoints", "60 checkpoints"],
)
def test_a_sweep_under_fire(runs, steps, kills, tmp_path):
    """Killed, stopped, its files truncated, its downloads refused and spoilt, and run again until
    all is done: the store is that of a clean run, and nothing finished was computed again."""
    moments = random.Random(17)
    place = tmp_path / "ein Ort mit Ünicode 模"
    family(place, range(steps), runs, max_position_embeddings=128)
    names = [(run, step) for run in range(runs) for step in range(steps)]
    folders = {f"r{run}-step{step}": place / f"run{run}" / f"step{step}" for run, step in names}
    fake: Fake = fake_of(folders)
    models = ["org/tiny@" + ",org/tiny@".join(folders)]
    config = write_config(
        tmp_path / "config.py", models, many_texts(tmp_path / "texts.jsonl", 24),
        lens=True, quantize=("none", "int8"), weight_distance=3, batch_tokens=256,
    )  # fmt: skip
    command = ["sweep", f"--config={config}"]
    with serve(fake) as address:
        hugging = {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}

        def start(store: str, log: str, pause: float, *extra: str) -> Process:
            return Process(
                *command, f"--store={place / store}", "--save_every=0", *extra,
                log=tmp_path / log, pause=pause,
                env={**hugging, "HF_HOME": str(place / f"home {store}")},
            )  # fmt: skip

        code, output = start("whole", "clean", 0.0).finish(timeout=600)
        assert code == 0, output

        fake.moments, fake.trouble = random.Random(18), 0.1
        store, killed, done = place / "store", 0, 0
        for _ in range(kills + 20):
            process = start("store", "log", 0.02, "--cache_budget=300KB")
            if killed < kills and pester(process, store, moments, 12):
                killed += 1
                code, output = process.finish(timeout=600)
                assert code in (-9, 75), output
                if code == 75:
                    assert "stopped before the end" in output
                records = sorted((store / "records").glob("[!.]*"))
                assert len(records) >= done, "nothing finished is lost"
                done = len(records)
                if done and moments.random() < 0.3:
                    truncate_a_record(store, moments)
                    done -= 1
                if moments.random() < 0.3 and (paths := [*place.glob("home store/hub/*/blobs/*")]):
                    os.truncate(moments.choice(paths), 10)
            else:
                code, output = process.finish(timeout=600)
                if code == 0:
                    break
                assert code in (1, 2), output  # tries used up, a file spoilt that has no hash
        assert code == 0, output
        assert killed == kills
        assert sum(fake.troubles.values()) >= kills / 3
    assert contents(store) == contents(place / "whole")
    is_clean(store)
    assert jaxmap("status", f"--store={store}").out.count(f"done        {2 * len(names)} of") == 1
