from __future__ import annotations

import math

import numpy as np
import pytest

from jaxmap.stats.centre import double_centre
from jaxmap.stats.divergence import kl_KK
from jaxmap.stats.resample import choose_texts, draw, place, pmi, probabilities, resampled

B = 900.0


def vectors(num_models=6, num_texts=3000, seed=0):
    rng = np.random.default_rng(seed)
    hard_N = rng.gamma(0.7, 40.0, num_texts)  # some texts tell models apart, most hardly do
    return -900 + hard_N * rng.normal(size=(num_models, num_texts))


def test_probabilities_against_the_definition():
    q_KN = double_centre(vectors(5, 40))
    least = (q_KN**2).sum(axis=0)
    pairs = ((q_KN[:, None] - q_KN[None]) ** 4).sum(axis=(0, 1))
    np.testing.assert_allclose(probabilities(q_KN, "LS"), least / least.sum(), rtol=1e-10)
    kl = np.sqrt(pairs)
    np.testing.assert_allclose(probabilities(q_KN, "KL"), kl / kl.sum(), rtol=1e-8)
    np.testing.assert_array_equal(probabilities(q_KN, "uniform"), np.full(40, 1 / 40))
    with pytest.raises(ValueError, match="no text distinguishes them"):
        probabilities(np.zeros((3, 4)), "KL")


def test_duplicates_merge():
    probability = np.array([0.5, 0.25, 0.25])
    sample = draw(probability, 100, seed=3)
    counts = np.bincount(np.random.default_rng(3).choice(3, 100, p=probability), minlength=3)
    assert sample.texts.tolist() == [0, 1, 2]
    assert sample.counts.tolist() == counts.tolist()
    assert sample.draws == 100
    np.testing.assert_allclose(sample.weights, np.sqrt(counts) / np.sqrt(100 * probability))


@pytest.mark.parametrize("scheme", ["uniform", "LS", "KL"])
def test_distances_are_estimated_without_bias(scheme):
    ll_KN = vectors()
    q_KN = double_centre(ll_KN)
    exact = ((q_KN[0] - q_KN[1]) ** 2).sum()
    found = []
    for seed in range(150):
        sample = draw(probabilities(q_KN, scheme), 600, seed)
        x_KU = resampled(ll_KN[:, sample.texts], sample)
        found.append(((x_KU[0] - x_KU[1]) ** 2).sum())
    error = np.std(found) / math.sqrt(len(found))
    # Centring by the sample's own mean takes about 1 / m of the value.
    assert abs(np.mean(found) - exact) < 4 * error + exact / 300


def test_importance_needs_fewer_texts():
    ll_KN = vectors()
    q_KN = double_centre(ll_KN)
    exact = kl_KK(ll_KN, B).kl[np.triu_indices(6, 1)]

    def error(scheme):
        off = []
        for seed in range(20):
            sample = choose_texts(probabilities(q_KN, scheme), 300, seed)
            assert len(sample.texts) == 300
            x_KU = resampled(ll_KN[:, sample.texts], sample)
            d2 = ((x_KU[:, None] - x_KU[None]) ** 2).sum(-1)[np.triu_indices(6, 1)]
            off.append(d2 / (2 * 3000 * B * math.log(2)) / exact - 1)
        return np.sqrt(np.mean(np.square(off)))

    assert error("KL") < 0.5 * error("uniform")


def test_a_new_model_is_placed_within_its_error():
    ll_KN = vectors(7)
    old_KN, new_N = ll_KN[:6], ll_KN[6]
    probability = probabilities(double_centre(old_KN), "KL")
    exact = kl_KK(ll_KN, B).kl[6, :6]
    scores = []
    for seed in range(60):
        sample = draw(probability, 500, seed)
        kl, error = place(old_KN[:, sample.texts], new_N[sample.texts], sample, 3000, B)
        scores.append((kl - exact) / error)
    scores = np.array(scores)
    assert 0.75 < np.sqrt((scores**2).mean()) < 1.3
    assert abs(scores.mean()) < 0.3


def test_every_text_once_is_the_whole_set():
    ll_KN = vectors(3, 50)
    sample = draw(np.full(50, 1 / 50), 10, 0)
    whole = type(sample)(np.arange(50), np.ones(50, int), np.ones(50))
    kl, _ = place(ll_KN, ll_KN[0], whole, 50, B)
    np.testing.assert_allclose(kl, kl_KK(ll_KN, B).kl[0], atol=1e-12)
    np.testing.assert_allclose(
        resampled(ll_KN, whole) - resampled(ll_KN, whole)[0],
        double_centre(ll_KN) - double_centre(ll_KN)[0],
        atol=1e-9,
    )


def test_texts_that_cannot_be_chosen():
    with pytest.raises(ValueError, match="5 of 3 texts"):
        choose_texts(np.array([0.5, 0.25, 0.25, 0.0]), 5)
    with pytest.raises(ValueError, match="did not come up"):
        choose_texts(np.array([1 - 1e-12, 1e-12]), 2, most=4000)


def test_pmi():
    a, b = vectors(2, 5, 1), vectors(2, 5, 2)
    np.testing.assert_array_equal(pmi(a, b), a - b)
    with pytest.raises(ValueError, match="the same models and responses"):
        pmi(a, b[:1])
