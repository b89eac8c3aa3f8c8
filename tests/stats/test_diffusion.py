from __future__ import annotations

import numpy as np
import pytest

from jaxmap.stats.diffusion import displacement, exponents

STEPS = np.arange(1000.0, 61_000, 1000)


def fractional(hurst, num_steps, dims, seed):
    """Fractional Brownian motion: squared distance grows as lag^(2 hurst)."""
    t = np.arange(1, num_steps + 1.0)
    power = 2 * hurst
    covariance = 0.5 * (t[:, None] ** power + t**power - abs(t[:, None] - t) ** power)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(num_steps))
    return root @ np.random.default_rng(seed).normal(size=(num_steps, dims))


def squared(x_ID):
    return ((x_ID[:, None] - x_ID[None]) ** 2).sum(-1)


def fit_oracle(lags, distances):
    x, y = np.log(lags), np.log(distances)
    slope = np.polyfit(x, y, 1)[0]
    return slope, np.corrcoef(x, y)[0, 1] ** 2


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_known_motions(exponent):
    runs = np.stack([squared(fractional(exponent / 2, 60, 2000, seed)) for seed in range(8)])
    found, r2 = exponents(runs, np.tile(STEPS, (8, 1)), window=10)
    assert np.isnan(found[:, 50:]).all()  # no whole window after these
    mean_R = found[:, :50].mean(axis=1)
    error = mean_R.std(ddof=1) / np.sqrt(8)
    assert error < 0.02
    assert abs(mean_R.mean() - exponent) < 3 * error + 2e-3  # a log of a mean is biased a little
    assert np.nanmin(r2) > 0.8


def test_against_polyfit_with_gaps():
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(1, 2000, size=(2, 25)), axis=1).astype(float)
    distance = np.exp(rng.normal(size=(2, 25, 25)))
    distance[0, :, 7] = distance[0, 7, :] = np.nan  # a checkpoint that was left out
    steps[1, 20:] = np.nan  # a shorter run
    found, r2 = exponents(distance, steps, window=6)
    for r in range(2):
        for i in range(25):
            after = np.arange(i + 1, i + 7)
            if after[-1] >= (25, 20)[r] or (r == 0 and i == 7):
                assert np.isnan(found[r, i])
                assert np.isnan(r2[r, i])
                continue
            after = after[np.isfinite(distance[r, i, after])]
            slope, fit = fit_oracle(steps[r, after] - steps[r, i], distance[r, i, after])
            assert found[r, i] == pytest.approx(slope, rel=1e-9)
            assert r2[r, i] == pytest.approx(fit, rel=1e-9)


def test_zero_distance_is_no_point():
    distance = np.tile(np.arange(12.0), (12, 1))[None]
    distance[0, 0, 1:9] = 0.0
    found, _ = exponents(distance, np.arange(12.0)[None], window=10)
    assert np.isnan(found[0, 0])  # two points are left
    assert np.isfinite(found[0, 1])


def test_displacement_against_the_definition():
    distance = np.random.default_rng(1).random((3, 9, 9))
    distance[1, 4, :] = distance[1, :, 4] = np.nan
    distance[2, 5:, :] = distance[2, :, 5:] = np.nan
    msd, count = displacement(distance)
    for r in range(3):
        for lag in range(1, 9):
            values = np.array([distance[r, i, i + lag] for i in range(9 - lag)])
            values = values[np.isfinite(values)]
            assert count[r, lag - 1] == len(values)
            if len(values):
                assert msd[r, lag - 1] == pytest.approx(values.mean(), rel=1e-12)
            else:
                assert np.isnan(msd[r, lag - 1])


def test_displacement_of_brownian_motion_is_a_line():
    runs = np.stack([squared(fractional(0.5, 60, 500, seed)) for seed in range(4)])
    msd, _ = displacement(runs, lags=20)
    np.testing.assert_allclose(msd.mean(axis=0) / (500 * np.arange(1, 21)), 1, atol=0.1)
