"""Speed, turns, curvature and slopes from squared distances; jackknife against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from jaxmap.stats.dynamics import curvature, slope, slope_error, speed, turn
from jaxmap.stats.jackknife import kl_left_out, standard_error


def squared(a, b):
    return ((a - b) ** 2).sum(-1)


def test_turns_and_curvature_of_points():
    x_3D = np.random.default_rng(0).normal(size=(3, 7))
    before, after = squared(x_3D[0], x_3D[1]), squared(x_3D[1], x_3D[2])
    across = squared(x_3D[0], x_3D[2])
    a, b = x_3D[1] - x_3D[0], x_3D[2] - x_3D[1]
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert turn(before, after, across) == pytest.approx(expected, rel=1e-12)
    # Menger: four times the area over the product of the sides.
    area = 0.5 * np.sqrt(before * after - (a @ b) ** 2)
    menger = 4 * area / np.sqrt(before * after * across)
    assert curvature(before, after, across) == pytest.approx(menger, rel=1e-12)
    circle = 3.0 * np.array([[np.cos(t), np.sin(t)] for t in (0.1, 0.7, 1.9)])
    sides = [squared(circle[i], circle[j]) for i, j in ((0, 1), (1, 2), (0, 2))]
    assert curvature(*map(np.array, sides)) == pytest.approx(1 / 3, rel=1e-12)
    assert turn(np.array(1.0), np.array(1.0), np.array(4.0)) == 1.0
    assert np.isnan(turn(np.array(0.0), np.array(1.0), np.array(1.0)))
    assert speed(np.array([4.0, 9.0]), np.array([2.0, 6.0])).tolist() == [1.0, 0.5]


def test_slopes_against_polyfit():
    rng = np.random.default_rng(1)
    x_W, y_SW = np.log(np.arange(1.0, 9.0)), rng.normal(size=(4, 8))
    found, error = slope(x_W, y_SW), slope_error(x_W, y_SW)
    for s in range(4):
        fit, covariance = np.polyfit(x_W, y_SW[s], 1, cov="unscaled")
        rest = y_SW[s] - np.polyval(fit, x_W)
        assert found[s] == pytest.approx(fit[0], rel=1e-9)
        expected = np.sqrt(covariance[0, 0] * (rest**2).sum() / 6)
        assert error[s] == pytest.approx(expected, rel=1e-9)


def test_left_out_groups_against_the_definition():
    rng = np.random.default_rng(2)
    ll_KN = rng.normal(size=(5, 101)) * 3 - 1000
    pairs = np.array([(0, 1), (3, 2), (4, 4), (0, 4)])
    found = kl_left_out(ll_KN, pairs, 700.0, groups=7)
    unit = 2 * 700.0 * np.log(2)
    for p, (i, j) in enumerate(pairs):
        difference = ll_KN[i] - ll_KN[j]
        assert found.kl[p] == pytest.approx(difference.var() / unit, rel=1e-9, abs=1e-15)
        for g in range(7):
            kept = np.delete(difference, np.arange(g, 101, 7))
            assert found.without[g, p] == pytest.approx(kept.var() / unit, rel=1e-9, abs=1e-15)


def test_the_jackknife_is_the_scatter_over_draws_of_texts():
    rng = np.random.default_rng(3)
    estimates, errors = [], []
    for _ in range(400):
        found = kl_left_out(rng.normal(size=(2, 300)) * 4, np.array([(0, 1)]), 500.0)
        estimates.append(np.sqrt(found.kl[0]))
        errors.append(standard_error(np.sqrt(found.without))[0])
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.1)
