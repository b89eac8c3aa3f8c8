"""Runs that are killed at any moment, and two at once on one store."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import (
    NO_TORCH,
    caches,
    jaxmap,
    make_checkpoint,
    score,
    write_texts,
)

from jaxmap.store import Store


@pytest.fixture
def texts(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


def vectors(store: Path) -> dict[str, np.ndarray]:
    opened = Store.open(store)
    return {entry.label: opened.load(entry).log_likelihood for entry in opened.records()}


def identical(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(a[k].tobytes() == b[k].tobytes() for k in a)


PROGRAM = f"{NO_TORCH}\nfrom jaxmap.cli import main; main()"


def start(store: Path, texts: Path, models: list[Path]) -> subprocess.Popen:
    """`jaxmap score` in a process of its own (without torch, which would take longer to import)."""
    listed = ",".join(map(str, models))
    flags = [f"--store={store}", f"--texts={texts}", f"--models={listed}"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "score", *flags],
        env={**os.environ, "XDG_CACHE_HOME": caches()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def records(store: Path) -> int:
    return len(list((store / "records").glob("[!.]*.safetensors")))


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_run_again(kills, texts, tmp_path):
    """Kills fall on the scoring itself: each comes soon after a new record has appeared."""
    count = 30 if kills == 5 else 150
    models = [make_checkpoint(tmp_path / "run" / f"step{i}", seed=i) for i in range(count)]
    assert score(tmp_path / "whole", texts, *models).code == 0
    moments = random.Random(11)
    counts = []
    for kill in range(kills):
        process = start(tmp_path / "store", texts, models)
        done, deadline = records(tmp_path / "store"), time.monotonic() + 120
        while records(tmp_path / "store") == done and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        output, _ = process.communicate()
        assert process.returncode == -9, f"kill {kill}: {output}"
        counts.append(records(tmp_path / "store"))
        assert 0 < len(Store.open(tmp_path / "store").records()) == counts[-1] < count
    assert counts == sorted(set(counts)), "each run went on from where the last one was killed"

    process = start(tmp_path / "store", texts, models)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"{count - counts[-1]} scored, {counts[-1]} already done, 0 failed" in output
    assert identical(vectors(tmp_path / "store"), vectors(tmp_path / "whole"))
    assert not list((tmp_path / "store").rglob("*.tmp"))

    for store in ("store", "whole"):
        status = jaxmap("status", f"--store={tmp_path}/{store}")
        assert (status.code, status.out.count(f"{count} of {count}")) == (0, 1)
        for command, name in (("export", "npz"), ("export", "csv"), ("kl", "kl.csv")):
            out = tmp_path / f"{store}.{name}"
            assert jaxmap(command, f"--store={tmp_path}/{store}", f"--out={out}").code == 0
    for name in ("npz", "csv", "kl.csv"):
        assert (tmp_path / f"store.{name}").read_bytes() == (
            tmp_path / f"whole.{name}"
        ).read_bytes()


def test_two_processes_on_one_store(texts, tmp_path):
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(4)]
    first = start(tmp_path / "store", texts, models)
    second = start(tmp_path / "store", texts, models[::-1])
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert score(tmp_path / "whole", texts, *models).code == 0
    assert identical(vectors(tmp_path / "store"), vectors(tmp_path / "whole"))
    store = Store.open(tmp_path / "store")
    assert (store.superseded(), store.corrupt(), store.missing()) == ([], {}, [])
