"""Suspect checkpoints: found where they were planted, nowhere else, left out only when asked."""

from __future__ import annotations

import numpy as np
import pytest
from support.stores import filled, record, texts

import jaxmap
from jaxmap.analysis.context import Context
from jaxmap.errors import InputError
from jaxmap.store.weight_distances import WeightDistances, write_distances

TEXTS = texts(200)
START = -3.0 * TEXTS.num_bytes


def walk(seed: int, count: int = 16, jitter: float = 0.3) -> list[np.ndarray]:
    """Scores that drift, and jitter about where they are."""
    rng = np.random.default_rng(seed)
    drift = np.cumsum(rng.normal(0, 1, (count, len(TEXTS))), axis=0)
    return [*(START + drift + rng.normal(0, jitter, drift.shape))]


def stored(path, scores):
    records = [record(TEXTS, "org/a-1b", f"step{2000 + 1000 * i}", scores=s)
               for i, s in enumerate(scores)]  # fmt: skip
    return filled(path, TEXTS, *records)[0]


def found(store) -> list[tuple[str, int]]:
    return [(one.kind, one.step) for one in Context(store).pretraining.suspects]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("jitter", [0.0, 0.3, 3.0])
def test_runs_that_are_well_have_none(tmp_path, seed, jitter):
    assert found(stored(tmp_path, walk(seed, jitter=jitter))) == []


def test_a_checkpoint_off_both_neighbours(tmp_path):
    scores = walk(0)
    scores[6] = scores[6] + np.random.default_rng(9).normal(0, 8, len(TEXTS))
    store = stored(tmp_path, scores)
    assert found(store) == [("off", 8000)]
    told = "org/a-1b, step 8000: off both neighbours: KL "
    assert told in jaxmap.status(store).text()
    assert any(told in str(note) for note in Context(store).pretraining.notes)
    kept = Context(store).pretraining
    assert (kept.rows[0] >= 0).all()
    assert kept.left_out == frozenset()
    without = Context(store, leave_out=("off",)).pretraining
    assert np.flatnonzero(without.rows[0] < 0).tolist() == [6]
    assert any("org/a-1b, step 8000 (a suspect, as asked)" in str(n) for n in without.notes)
    steps = jaxmap.diffusion(store, leave_out="off").consecutive.to_dataframe()
    assert steps["kl_bits_per_byte"].isna().tolist() == [i in (5, 6) for i in range(15)]
    with pytest.raises(InputError, match="leave_out: 'bad' is unknown; known: off, restart, same"):
        jaxmap.diffusion(store, leave_out="bad")


def test_a_run_that_goes_back(tmp_path):
    scores, away, again = walk(1, 6), walk(2, 3), walk(4, 6)
    lost = [scores[5] + 12 * (one - START) for one in away]
    store = stored(tmp_path, [*scores, *lost, *(scores[5] + one - START for one in again)])
    assert found(store) == [("restart", 11_000)]
    assert "goes back to step 7000" in jaxmap.status(store).text()
    rows = Context(store, leave_out=("restart",)).pretraining.rows[0]
    assert np.flatnonzero(rows < 0).tolist() == [6, 7, 8]


def test_the_same_by_scores_or_by_weights(tmp_path):
    scores = walk(3, 8)
    scores[4] = scores[3]
    store = stored(tmp_path, scores)
    assert found(store) == [("same", 6000)]
    steps = np.arange(2000, 10_000, 1000)
    distance = np.triu(np.ones((8, 8)), 1)
    distance[1, 2] = 0.0
    write_distances(store.path, WeightDistances("org/a-1b", steps, distance))
    assert found(store) == [("same", 4000), ("same", 6000)]
    rows = Context(store, leave_out=("same",)).pretraining.rows[0]
    assert np.flatnonzero(rows < 0).tolist() == [2, 4]
