"""Loading in parallel with scoring, where loading waits and memory allows."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
import weakref

import jax
import pytest
from support.checkpoints import (
    make_checkpoint,
    write_texts,
)
from support.checkpoints import (
    score as score_command,
)
from support.sweeps import run

from jaxmap.sweeps import checkpoint_scorer, prefetch
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.limits import Limits


@dataclasses.dataclass
class Loads:
    """The threads in which checkpoints were loaded."""

    threads: set[str] = dataclasses.field(default_factory=set)


def slowed(monkeypatch, load_s: float, score_s: float, wait=time.sleep) -> Loads:
    """Loading takes `load_s` seconds longer, scoring `score_s`."""
    loads = Loads()
    load, score_rows = CheckpointScorer.load_part, checkpoint_scorer.score_rows

    def slow_load(*arguments, **options):
        wait(load_s)
        loads.threads.add(threading.current_thread().name)
        return load(*arguments, **options)

    def slow_score(*arguments, **options):
        time.sleep(score_s)
        return score_rows(*arguments, **options)

    monkeypatch.setattr(CheckpointScorer, "load_part", slow_load)
    monkeypatch.setattr(checkpoint_scorer, "score_rows", slow_score)
    return loads


def test_a_slow_loader_is_overlapped(tmp_path, monkeypatch):
    """While a checkpoint is scored the next is being loaded: scoring waits here until it is."""
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(6)]
    texts = write_texts(tmp_path / "texts.jsonl")
    loaded, scored = [threading.Event() for _ in models], itertools.count()
    score_rows = checkpoint_scorer.score_rows
    loads = slowed(monkeypatch, 0.3, 0.0)
    slow_load, begun, overlapped = CheckpointScorer.load_part, itertools.count(), []

    def noted(*arguments, **options):
        loaded[next(begun)].set()
        return slow_load(*arguments, **options)

    def waits(*arguments, **options):
        i = next(scored)
        # The first two are loaded one after the other, until it is known that loading waits.
        if 1 < i < len(models) - 1:
            overlapped.append(loaded[i + 1].wait(120))
        return score_rows(*arguments, **options)

    monkeypatch.setattr(CheckpointScorer, "load_part", noted)
    monkeypatch.setattr(checkpoint_scorer, "score_rows", waits)
    limits = Limits(idle_share=0.05)  # on a busy machine, loading takes longer than it sleeps
    assert run(tmp_path / "store", texts, models, limits=limits).ending == "done"
    assert overlapped == [True] * 3
    assert loads.threads == {"MainThread", prefetch.THREAD_NAME}


def test_a_loader_that_computes_is_not(tmp_path, monkeypatch):
    """Two that want the same cores only get in each other's way."""

    def compute(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(3)]
    loads = slowed(monkeypatch, 0.3, 0.0, compute)
    texts = write_texts(tmp_path / "texts.jsonl")
    assert score_command(tmp_path / "store", texts, *models).code == 0
    assert loads.threads == {"MainThread"}


@pytest.mark.parametrize("room", [True, False])
def test_at_most_two_models_in_memory(room, tmp_path, monkeypatch):
    """One being scored and one waiting; only one where two do not fit."""
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(8)]
    made: list[weakref.ref] = []
    most = []
    loads = slowed(monkeypatch, 0.2, 0.1)
    load = CheckpointScorer.load_part

    def counted(*arguments, **options):
        most.append(1 + sum(one() is not None for one in made))
        loaded = load(*arguments, **options)
        made.append(weakref.ref(jax.tree.leaves(loaded.model.params)[0]))
        return loaded

    monkeypatch.setattr(CheckpointScorer, "load_part", counted)
    limits = Limits(idle_share=0.0)
    if not room:
        limits = dataclasses.replace(limits, free_memory=lambda: 100)
    texts = write_texts(tmp_path / "texts.jsonl")
    assert run(tmp_path / "store", texts, models, limits=limits).ending == "done"
    assert max(most) == (2 if room else 1)
    assert loads.threads == {"MainThread", prefetch.THREAD_NAME}
