from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxmap.stats.clean import clean_map, clean_pretraining, clip, neighbouring_entries, neighbours


def vectors(num_models=6, num_texts=400, seed=0):
    return -800 + 200 * np.random.default_rng(seed).standard_t(3, size=(num_models, num_texts))


def test_the_map_recipe():
    ll_KN = vectors()
    ll_KN[2, 5], ll_KN[4, 7] = np.nan, -np.inf
    cleaned = clean_map(ll_KN, list("abcdef"))
    kept = ll_KN[[0, 1, 3, 5]]
    floor = np.quantile(kept, 0.02)
    assert cleaned.dropped.floor == floor
    np.testing.assert_array_equal(cleaned.ll_KN, np.where(kept < floor, floor, kept))
    np.testing.assert_array_equal(cleaned.rows, [0, 1, 3, 5])
    assert cleaned.dropped.not_finite == ("c", "e")
    assert cleaned.dropped.clipped == np.sum(kept < floor) == 32  # 2 % of 1,600


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).standard_t(2, 501),
        np.random.default_rng(1).integers(-3, 4, 400).astype(float),  # ties
        np.array([-0.0, 0.0, 5e-324, -5e-324, 1e300, -1e300, 1.0]),
        np.full(9, -7.5),
        np.array([3.0]),
    ],
)
def test_places_against_sorting(values, dtype):
    with np.errstate(over="ignore"), jax.enable_x64(True):
        values = np.clip(values.astype(dtype), -1e30, 1e30)
        for share in (0.0, 0.02, 0.3, 0.5, 1.0):
            place = min(int(share * (len(values) - 1)), max(len(values) - 2, 0))
            lower, upper, least = neighbouring_entries(values.reshape(1, -1), place)
            inorder = np.sort(values)
            assert lower.dtype == dtype
            assert lower == inorder[place]
            assert len(values) == 1 or upper == inorder[place + 1]
            assert least == inorder[0]


@pytest.mark.parametrize("quantile", [0.0, 0.02, 0.37, 1.0])
def test_the_floor_is_numpys_quantile(quantile):
    ll_KN = vectors()
    clipped_KN, floor, count = clip(ll_KN, quantile)
    assert floor == np.quantile(ll_KN, quantile)
    np.testing.assert_array_equal(clipped_KN, np.maximum(ll_KN, floor))
    assert count == np.count_nonzero(ll_KN < floor)
    assert clip(ll_KN[:1, :1], quantile)[1] == ll_KN[0, 0]
    assert clip(ll_KN[:0], quantile)[2] == 0


def test_clipping_twice_is_clipping_once():
    once = clean_map(vectors(), list("abcdef"))
    twice = clean_map(once.ll_KN, list("abcdef"))
    np.testing.assert_array_equal(twice.ll_KN, once.ll_KN)
    assert twice.dropped.clipped == 0


RUN = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])
PLACE = np.array([0, 1, 2, 3, 5, 0, 1, 2, 0])  # run 0 lacks its fifth checkpoint
STEP = np.array([0, 1000, 2000, 3000, 5000, 2000, 3000, 4000, 9000])


def pretraining_oracle(ll_KN, excluded, warmup, jumpy):
    good = np.isfinite(ll_KN).all(axis=1) & ~excluded
    clipped = np.maximum(ll_KN, np.quantile(ll_KN[good], 0.02))
    jump = np.zeros(ll_KN.shape[1])
    for a in range(len(RUN)):
        for b in range(len(RUN)):
            together = RUN[a] == RUN[b] and PLACE[b] == PLACE[a] + 1 and STEP[a] >= warmup
            if together and good[a] and good[b]:
                jump = np.maximum(jump, abs(clipped[b] - clipped[a]))
    drop = np.argsort(jump, kind="stable")[len(jump) - round(jumpy * len(jump)) :]
    keep = np.setdiff1d(np.arange(len(jump)), drop)
    return clipped[good][:, keep], np.sort(drop)


@pytest.mark.parametrize("warmup", [0, 2000])
def test_the_pretraining_recipe(warmup):
    ll_KN = vectors(len(RUN))
    ll_KN[6, 3] = np.nan
    excluded = np.arange(len(RUN)) == 8
    names = [f"m{k}" for k in range(len(RUN))]
    cleaned = clean_pretraining(ll_KN, names, RUN, PLACE, STEP, excluded, warmup=warmup)
    expected, drop = pretraining_oracle(ll_KN, excluded, warmup, 0.03)
    np.testing.assert_array_equal(cleaned.ll_KN, expected)
    np.testing.assert_array_equal(cleaned.dropped.texts, drop)
    assert len(drop) == 12
    assert cleaned.dropped.not_finite == ("m6",)
    assert cleaned.dropped.excluded == ("m8",)
    np.testing.assert_array_equal(cleaned.rows, [0, 1, 2, 3, 4, 5, 7])
    np.testing.assert_array_equal(np.sort([*cleaned.texts, *drop]), np.arange(400))


def test_the_text_that_jumps_is_the_one_dropped():
    ll_KN = np.tile(vectors(1), (len(RUN), 1))
    ll_KN[1, 10] += 5000  # before warmup is over
    ll_KN[4, 20] += 5000  # across a gap
    ll_KN[3, 30] += 50
    none = np.zeros(len(RUN), bool)
    cleaned = clean_pretraining(
        ll_KN, ["x"] * 9, RUN, PLACE, STEP, none, jumpy=1 / 400, warmup=2000
    )
    np.testing.assert_array_equal(cleaned.dropped.texts, [30])


def test_the_input_is_not_changed():
    ll_KN = vectors(len(RUN))
    before = ll_KN.copy()
    clean_pretraining(ll_KN, ["x"] * 9, RUN, PLACE, STEP, np.zeros(9, bool), warmup=2000)
    clean_map(ll_KN, ["x"] * 9)
    np.testing.assert_array_equal(ll_KN, before)


def test_neighbours_span_no_gap():
    kept = np.ones(9, bool)
    assert neighbours(RUN, PLACE, kept).tolist() == [[0, 1], [1, 2], [2, 3], [5, 6], [6, 7]]
    kept[2] = False
    assert neighbours(RUN, PLACE, kept).tolist() == [[0, 1], [5, 6], [6, 7]]
