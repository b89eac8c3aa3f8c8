"""Maps: t-SNE as published, principal components that are those of NumPy, both repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import TSNE

from jaxmap.stats import embed
from jaxmap.stats.embed import pca, procrustes, tsne, tsne_obstacle


def cloud(num_models: int = 40, num_texts: int = 90, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_models, 5)) @ rng.normal(size=(5, num_texts))


def test_components_are_those_of_a_singular_value_decomposition():
    x_KN = cloud()
    found = pca(x_KN)
    centred_KN = x_KN - x_KN.mean(axis=0)
    u_KK, s_K, _ = np.linalg.svd(centred_KN, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.xy_K2), np.abs(u_KK[:, :2] * s_K[:2]), rtol=1e-9)
    np.testing.assert_allclose(found.explained, (s_K**2 / (s_K**2).sum())[:2], rtol=1e-12)
    assert found.method == "pca"
    assert np.isnan(found.perplexity)


def test_signs_do_not_depend_on_the_decomposition():
    x_KN = cloud()
    found = pca(x_KN).xy_K2
    np.testing.assert_allclose(pca(x_KN[::-1]).xy_K2[::-1], found, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(pca(-x_KN).xy_K2, -found * np.sign(-found[np.abs(found).argmax(0),
                               [0, 1]]), rtol=1e-9, atol=1e-9)  # fmt: skip
    farthest_2 = found[np.abs(found).argmax(axis=0), [0, 1]]
    assert (farthest_2 > 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_models_have_components(count):
    found = pca(cloud()[:count])
    assert found.xy_K2.shape == (count, 2)
    assert np.isfinite(found.xy_K2).all()
    assert tsne(cloud()[:count]) is None


def test_equal_models_lie_on_one_another():
    found = pca(np.ones((4, 7)))
    np.testing.assert_array_equal(found.xy_K2, 0.0)
    assert found.explained == (0.0, 0.0)


def test_tsne_is_the_published_one_and_repeats():
    x_KN = cloud(100)
    found = tsne(x_KN, perplexity=30.0)
    assert found is not None
    expected = TSNE(init="pca", learning_rate="auto", random_state=42, perplexity=30.0)
    again = tsne(x_KN, perplexity=30.0)
    assert again is not None
    np.testing.assert_array_equal(found.xy_K2, again.xy_K2)
    assert found.note == ""
    assert found.perplexity == 30.0
    # Several threads add in another order; the picture is the same one.
    reference = expected.fit_transform(x_KN)
    near = np.linalg.norm(reference - found.xy_K2, axis=1) < 0.05 * np.ptp(reference)
    assert near.mean() > 0.9


def test_perplexity_is_lowered_for_few_models_and_said():
    found = tsne(cloud(13), perplexity=20.0)
    assert found is not None
    assert found.perplexity == 4.0
    assert "perplexity 4 instead of 20" in found.note
    assert "13 models" in found.note


def test_many_rows_are_decomposed_as_few_are(monkeypatch):
    x_KN = np.random.default_rng(3).normal(size=(320, 40)) * np.linspace(3, 1, 40)
    by_iteration = pca(x_KN)
    monkeypatch.setattr(embed, "LARGE", 10_000)
    whole = pca(x_KN)
    np.testing.assert_allclose(by_iteration.xy_K2, whole.xy_K2, atol=1e-9)
    np.testing.assert_allclose(by_iteration.explained, whole.explained, rtol=1e-12)
    monkeypatch.setattr(embed, "LARGE", 10)
    np.testing.assert_array_equal(pca(np.ones((12, 3))).xy_K2, 0.0)


@pytest.mark.parametrize("size", [0.0, 1e-12])
def test_rows_that_are_all_alike_have_no_tsne(size):
    """scikit-learn's compiled code ends the process on them."""
    rows = 1.0 + size * np.random.default_rng(0).normal(size=(8, 20))
    assert tsne(rows) is None
    assert "KL 0" in tsne_obstacle(rows)
    assert np.isfinite(pca(rows).xy_K2).all()


def test_a_few_rows_apart_are_enough_for_a_tsne():
    rows = np.zeros((8, 20))
    rows[-1, 0] = 1e-6
    found = tsne(rows)
    assert found is not None
    assert np.isfinite(found.xy_K2).all()
    assert tsne_obstacle(rows) == ""
    assert "too few" in tsne_obstacle(rows[:4])


def test_procrustes_sees_shape_alone():
    rng = np.random.default_rng(3)
    xy_K2 = rng.normal(size=(30, 2))
    turned = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    assert procrustes(xy_K2, 5 * xy_K2 @ turned * (1, -1) + (3, -8)) < 1e-12
    assert 0.5 < procrustes(xy_K2, rng.normal(size=(30, 2))) <= 1
    assert np.isnan(procrustes(xy_K2, np.zeros((30, 2))))


def test_a_perplexity_is_kept_where_it_can_be():
    q_KN = np.random.default_rng(4).normal(size=(24, 6))
    assert tsne(q_KN, 20.0, lowered=False).perplexity == 20
    assert tsne(q_KN, 20.0).perplexity == pytest.approx(23 / 3)
    few = tsne(q_KN, 30.0, lowered=False)
    assert few.perplexity == pytest.approx(23 / 3)
    assert "instead of 30" in few.note
