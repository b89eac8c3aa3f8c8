from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmap.map import divergence
from jaxmap.map.divergence import kl_KK, kl_pairs

B = 972.3188


def kl_oracle(a_N, b_N, mean_bytes):
    d_N = np.asarray(a_N, np.float64) - np.asarray(b_N, np.float64)
    return np.var(d_N) / (2 * mean_bytes * math.log(2))


def se_oracle(a_N, b_N, mean_bytes):
    d_N = np.asarray(a_N, np.float64) - np.asarray(b_N, np.float64)
    m2, m4 = (np.mean((d_N - d_N.mean()) ** power) for power in (2, 4))
    return math.sqrt((m4 - m2**2) / len(d_N)) / (2 * mean_bytes * math.log(2))


def vectors(num_models=5, num_texts=700, seed=0):
    rng = np.random.default_rng(seed)
    return -1000 + 100 * rng.standard_t(6, size=(num_models, num_texts))


def test_against_the_definition():
    ll_KN = vectors()
    kl, error = kl_KK(ll_KN, B)
    for i in range(5):
        for j in range(5):
            assert kl[i, j] == pytest.approx(kl_oracle(ll_KN[i], ll_KN[j], B), rel=1e-12)
            assert error[i, j] == pytest.approx(se_oracle(ll_KN[i], ll_KN[j], B), rel=1e-9)


def test_a_case_by_hand():
    kl, error = kl_pairs(np.array([[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 3.0, -3.0]]), [(0, 1)], 10.0)
    # m2 = (1 + 1 + 9 + 9) / 4 = 5, m4 = (1 + 1 + 81 + 81) / 4 = 41
    assert kl[0] == pytest.approx(5 / (20 * math.log(2)))
    assert error[0] == pytest.approx(math.sqrt((41 - 25) / 4) / (20 * math.log(2)))


@pytest.mark.parametrize("block", [1, 1500, 2**18])
def test_blocks_change_nothing(monkeypatch, block):
    ll_KN = vectors()
    whole = kl_KK(ll_KN, B)
    monkeypatch.setattr(divergence, "BLOCK", block)
    for one, other in zip(kl_KK(ll_KN, B), whole, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 60), st.floats(-1e4, 1e4))
def test_properties(seed, num_models, num_texts, shift):
    rng = np.random.default_rng(seed)
    ll_KN = vectors(num_models, num_texts, seed)
    kl, error = kl_KK(ll_KN, B)
    assert (kl >= 0).all()
    assert (error >= 0).all()
    for matrix in (kl, error):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(np.diag(matrix), 0)
    moved = kl_KK(ll_KN + shift * rng.normal(size=(num_models, 1)), B)
    permuted = kl_KK(ll_KN[:, rng.permutation(num_texts)], B)
    for other in (moved, permuted):
        np.testing.assert_allclose(other.kl, kl, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(other.standard_error, error, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(kl_KK(ll_KN, 2 * B).kl, kl / 2, rtol=1e-12)
    np.testing.assert_allclose(kl_KK(2 * ll_KN, B).standard_error, 4 * error, rtol=1e-9)


def test_neighbours_far_from_the_origin_are_resolved():
    """A Gram matrix would lose these digits: the norms are 1e14 times the distance."""
    rng = np.random.default_rng(1)
    base_N = -1e4 * rng.random(2000) - 1e4
    step_N = rng.normal(size=2000) * 1e-3
    kl, _ = kl_pairs(np.stack([base_N, base_N + step_N]), [(0, 1)], B)
    assert kl[0] == pytest.approx(np.var(step_N) / (2 * B * math.log(2)), rel=1e-6)


def test_float32_input_is_computed_in_float64():
    ll_KN = vectors().astype(np.float32)
    expected = kl_KK(ll_KN.astype(np.float64), B)
    np.testing.assert_array_equal(kl_KK(ll_KN, B).kl, expected.kl)


def test_standard_error_against_the_bootstrap():
    ll_KN = vectors(2, 3000)
    kl, error = kl_pairs(ll_KN, [(0, 1)], B)
    rng = np.random.default_rng(2)
    draws = [kl_oracle(*ll_KN[:, rng.integers(0, 3000, 3000)], mean_bytes=B) for _ in range(1500)]
    # The spread of 1,500 draws is itself uncertain by 1 / sqrt(2 * 1500) = 1.8 %.
    assert error[0] == pytest.approx(np.std(draws), rel=0.08)
    assert np.mean(draws) == pytest.approx(kl[0], rel=0.01)


def test_standard_error_covers_the_truth():
    """Of intervals of two standard errors about the estimate, 95 % hold the true value."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        kl, error = kl_pairs(np.stack([np.zeros(800), rng.normal(size=800)]), [(0, 1)], B)
        inside += abs(kl[0] - 1 / (2 * B * math.log(2))) < 2 * error[0]
    assert 0.91 < inside / 400 < 0.985


def test_no_pairs():
    kl, error = kl_pairs(vectors(), np.empty((0, 2), int), B)
    assert kl.shape == error.shape == (0,)
