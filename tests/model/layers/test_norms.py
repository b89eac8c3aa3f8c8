"""Normalisation against NumPy float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmap.model.layers.norms import Norm

D, EPS = 24, 0.02


def rms_64(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS)


def layer_64(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(D,), (3, D)], ids=["of all", "per head"])
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize(("scale", "bias"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize(("kind", "by_hand"), [("rms", rms_64), ("layer", layer_64)])
def test_norm(kind, by_hand, scale, bias, offset, shape, dtype):
    random = np.random.default_rng(0)
    norm = Norm(kind, shape, eps=EPS, scale=scale, bias=bias, offset=offset, dtype=jnp.float32)
    scale_D, bias_D = random.normal(1, 0.3, shape), random.normal(0, 0.3, shape)
    if norm.scale is not None:
        norm.scale[...] = jnp.asarray(scale_D, jnp.float32)
    if norm.bias is not None:
        norm.bias[...] = jnp.asarray(bias_D, jnp.float32)
    # Far from zero: the mean and the variance are not those of the first steps of training.
    x = jnp.asarray(random.normal(3, 2, (5, 3, D)), dtype)
    expected = by_hand(np.asarray(x, np.float64))
    expected = expected * (scale_D + offset) if scale else expected
    expected = expected + bias_D if bias else expected
    ours = norm(x)
    assert ours.dtype == dtype
    bound = 2e-6 if dtype == "float32" else 2**-8
    np.testing.assert_allclose(np.asarray(ours, np.float64), expected, rtol=bound, atol=bound)


def test_a_new_norm_scales_by_one():
    for offset in (0.0, 1.0):
        norm = Norm("rms", (D,), eps=EPS, offset=offset, dtype=jnp.float32)
        x = np.random.default_rng(0).normal(size=(2, D))
        np.testing.assert_allclose(norm(jnp.asarray(x, jnp.float32)), rms_64(x), rtol=1e-5)
