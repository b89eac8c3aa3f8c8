"""Points that none beats, against all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from jaxmap.stats.pareto import pareto_front


@pytest.mark.parametrize("seed", range(5))
def test_against_all_pairs(seed):
    x_P, y_P = np.random.default_rng(seed).integers(0, 30, (2, 40)).astype(float)
    front = pareto_front(x_P, y_P)
    better_PP = (x_P[:, None] <= x_P) & (y_P[:, None] <= y_P)
    better_PP &= (x_P[:, None] < x_P) | (y_P[:, None] < y_P)
    expected = {(x_P[p], y_P[p]) for p in range(40) if not better_PP[:, p].any()}
    assert [(x_P[p], y_P[p]) for p in front] == sorted(expected)
    assert len(expected) < 20


def test_of_equal_points_the_first():
    assert pareto_front(np.ones(3), np.ones(3)).tolist() == [0]
