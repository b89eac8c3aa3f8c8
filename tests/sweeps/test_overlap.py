"""Loading in parallel with scoring, where loading waits and memory allows."""

from __future__ import annotations

import dataclasses
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
class Clock:
    """How long loading and scoring took in sum, and from the first to the last."""

    load: float = 0.0
    score: float = 0.0
    threads: set[str] = dataclasses.field(default_factory=set)
    began: float = 0.0
    ended: float = 0.0


def slowed(monkeypatch, load_s: float, score_s: float, wait=time.sleep) -> Clock:
    clock = Clock()
    load, score_rows = CheckpointScorer.load_part, checkpoint_scorer.score_rows

    def slow_load(*arguments, **options):
        begun = time.perf_counter()
        clock.began = clock.began or begun
        wait(load_s)
        loaded = load(*arguments, **options)
        clock.load += time.perf_counter() - begun
        clock.threads.add(threading.current_thread().name)
        return loaded

    def slow_score(*arguments, **options):
        begun = time.perf_counter()
        time.sleep(score_s)
        found = score_rows(*arguments, **options)
        clock.ended = time.perf_counter()
        clock.score += clock.ended - begun
        return found

    monkeypatch.setattr(CheckpointScorer, "load_part", slow_load)
    monkeypatch.setattr(checkpoint_scorer, "score_rows", slow_score)
    return clock


def test_a_slow_loader_is_overlapped(tmp_path, monkeypatch):
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(12)]
    texts = write_texts(tmp_path / "texts.jsonl")
    assert score_command(tmp_path / "warm", texts, *models[:1]).code == 0  # compiled elsewhere
    ratios = []
    for turn in range(4):  # a machine that is busy with other things gets another chance
        with monkeypatch.context() as patch:
            clock = slowed(patch, 0.4, 0.4)
            assert score_command(tmp_path / f"store{turn}", texts, *models).code == 0
        longer = max(clock.load, clock.score)
        assert clock.load > 12 * 0.4
        assert clock.score > 12 * 0.4
        assert clock.threads == {"MainThread", prefetch.THREAD_NAME}
        # The first load has nothing to overlap with.
        ratios.append((clock.ended - clock.began - clock.load / 12) / longer)
        if ratios[-1] <= 1.3:
            break
    assert min(ratios) <= 1.3, "one after the other would be 2"


def test_a_loader_that_computes_is_not(tmp_path, monkeypatch):
    """Two that want the same cores only get in each other's way."""

    def compute(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(3)]
    clock = slowed(monkeypatch, 0.3, 0.0, compute)
    texts = write_texts(tmp_path / "texts.jsonl")
    assert score_command(tmp_path / "store", texts, *models).code == 0
    assert clock.threads == {"MainThread"}


@pytest.mark.parametrize("room", [True, False])
def test_at_most_two_models_in_memory(room, tmp_path, monkeypatch):
    """One being scored and one waiting; only one where two do not fit."""
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(8)]
    made: list[weakref.ref] = []
    most = []
    clock = slowed(monkeypatch, 0.2, 0.1)
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
    assert clock.threads == {"MainThread", prefetch.THREAD_NAME}
