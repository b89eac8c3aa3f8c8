"""Spirals are told from Brownian paths, which bend in their principal plane too."""

from __future__ import annotations

import numpy as np
import pytest

from jaxmap.stats import winding as module
from jaxmap.stats.winding import path_statistics, turns_of, winding


def circle(turns: float, points: int = 60) -> np.ndarray:
    angle_I = np.linspace(0, 2 * np.pi * turns, points)
    return np.stack([np.cos(angle_I), np.sin(angle_I)], axis=1)


def lifted(xy_I2: np.ndarray, dimensions: int = 100, noise: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(3)
    frame, _ = np.linalg.qr(rng.normal(size=(dimensions, 2)))
    return xy_I2 @ frame.T + noise * rng.normal(size=(len(xy_I2), dimensions))


def test_statistics_of_paths_known_by_heart():
    straight = path_statistics(np.array([[0.0, 0], [3, 4], [6, 8]]))
    assert straight == pytest.approx((10.0, 10.0, 1.0))
    corner = path_statistics(np.array([[0.0, 0], [3, 0], [3, 4]]))
    assert corner == pytest.approx((7.0, 5.0, 5 / 7))
    closed = path_statistics(np.array([[0.0, 0], [1, 0], [0, 0]]))
    assert closed == pytest.approx((2.0, 0.0, 0.0))
    still = path_statistics(np.zeros((3, 2)))
    assert still[:2] == (0.0, 0.0)
    assert np.isnan(still.straightness)


@pytest.mark.parametrize("turns", [1.0, 2.0, 3.0])
def test_turns_of_a_circle(turns):
    assert turns_of(circle(turns)) == pytest.approx(turns, abs=0.05)
    assert turns_of(circle(turns)[:, ::-1]) == pytest.approx(turns, abs=0.05)


def test_a_spiral_winds_more_than_chance():
    shrinking = circle(3.0) * np.linspace(1.0, 0.3, 60)[:, None]
    found = winding(lifted(shrinking))
    assert found is not None
    assert found.turns == pytest.approx(3.0, abs=0.2)
    assert found.p_value <= 0.01
    assert found.plane_variance > 0.9
    assert found.xy_I2.shape == (60, 2)


def test_p_values_of_brownian_paths_are_spread_evenly():
    rng = np.random.default_rng(0)
    size_S = np.geomspace(3.0, 0.3, 25)[:, None]
    values = [
        winding(np.cumsum(size_S * rng.normal(size=(25, dimensions)), axis=0), 39, seed).p_value
        for seed in range(30)
        for dimensions in (6, 120)
    ]
    # The share below 0.25 of 60 fair p-values has a standard error of 0.056.
    assert abs(np.mean(np.array(values) <= 0.25) - 0.25) < 0.17
    assert abs(np.mean(values) - 0.5) < 0.12


def test_the_dimension_of_the_steps_is_found():
    rng = np.random.default_rng(1)
    found = winding(np.cumsum(rng.normal(size=(80, 12)), axis=0), 1)
    assert found is not None
    assert found.dimension == pytest.approx(12, rel=0.15)


def test_nothing_is_said_of_three_points_and_repeats_count_once():
    path = lifted(circle(1.0, 5))
    assert winding(path[:3]) is None
    assert winding(np.repeat(path[:3], 3, axis=0)) is None
    once, twice = winding(path), winding(np.repeat(path, 2, axis=0))
    assert once is not None
    assert twice is not None
    assert once[:4] == pytest.approx(twice[:4])


def test_the_same_path_has_the_same_p_value():
    path = lifted(circle(0.6, 12), noise=0.3)
    assert winding(path)[:2] == winding(path)[:2]


def test_steps_at_right_angles_are_brownian_in_the_limit():
    found = winding(np.tril(np.ones((20, 400))[:, :400]))
    assert found is not None
    assert found.dimension == 400
    assert found.p_value > 0.05


@pytest.mark.parametrize("dimension", [2, 5, 80])
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_many_planes_at_once_are_those_of_one_at_a_time(monkeypatch, dimension, spread):
    """Also where one step outweighs all others; and none of them is decomposed."""
    rng = np.random.default_rng(dimension)
    size_S1 = rng.lognormal(0, spread, (60, 1))
    step_RSD = rng.normal(size=(7, 60, dimension)) * size_S1
    with monkeypatch.context() as patched:
        patched.setattr(module, "leading_plane", None)
        found_RI2 = list(module.planes(step_RSD))
    for step_SD, found_I2 in zip(step_RSD, found_RI2, strict=True):
        expected_I2 = module.project(step_SD @ step_SD.T)[0]
        np.testing.assert_allclose(
            abs(found_I2), abs(expected_I2), atol=1e-5 * abs(expected_I2).max()
        )
        assert turns_of(found_I2) == pytest.approx(turns_of(expected_I2), abs=1e-3)


def test_a_path_with_no_leading_plane_to_speak_of_is_decomposed():
    """Back and forth along thirty axes, each a little shorter than the one before."""
    out_SD = np.diag(1.0 - 0.003 * np.arange(30))
    step_SD = np.stack([out_SD, -out_SD], axis=1).reshape(60, 30)
    (found_I2,) = module.planes(step_SD[None])
    expected_I2 = module.project(step_SD @ step_SD.T)[0]
    np.testing.assert_allclose(abs(found_I2), abs(expected_I2), atol=1e-6)
