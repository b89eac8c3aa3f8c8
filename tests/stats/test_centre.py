from __future__ import annotations

import math

import numpy as np
import pytest

from jaxmap.stats.centre import coordinates, double_centre

B = 950.0


def vectors(num_models=5, num_texts=60, seed=0):
    return -1000 + 100 * np.random.default_rng(seed).standard_t(5, size=(num_models, num_texts))


def centre_oracle(ll_KN):
    rows, columns = ll_KN.mean(axis=1, keepdims=True), ll_KN.mean(axis=0, keepdims=True)
    return ll_KN - rows - columns + ll_KN.mean()


def test_against_the_definition():
    ll_KN = vectors()
    q_KN = double_centre(ll_KN)
    assert q_KN.dtype == np.float64
    np.testing.assert_allclose(q_KN, centre_oracle(ll_KN), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(q_KN.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(q_KN.mean(axis=1), 0, atol=1e-10)


def test_a_constant_for_a_model_or_a_text_changes_nothing():
    ll_KN = vectors()
    rng = np.random.default_rng(1)
    moved = ll_KN + rng.normal(size=(5, 1)) * 300 + rng.normal(size=60) * 300
    np.testing.assert_allclose(double_centre(moved), double_centre(ll_KN), atol=1e-9)


def test_distances_of_coordinates_are_kl():
    ll_KN = vectors()
    x_KN = coordinates(ll_KN, B)
    for i in range(5):
        for j in range(5):
            expected = np.var(ll_KN[i] - ll_KN[j]) / (2 * B * math.log(2))
            assert ((x_KN[i] - x_KN[j]) ** 2).sum() == pytest.approx(expected, rel=1e-10, abs=1e-15)


def test_weights_count_texts_as_repeats_would():
    ll_KN, times = vectors(num_texts=6), np.array([1, 2, 1, 3, 1, 1])
    repeated = double_centre(np.repeat(ll_KN, times, axis=1))
    first = np.cumsum(times) - times
    np.testing.assert_allclose(double_centre(ll_KN, times), repeated[:, first], atol=1e-9)
