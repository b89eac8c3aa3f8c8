"""Activations and the feed-forward layer against NumPy float64 and the error function of math."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.cases.core import CASES

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.model.layer_kind import Kind
from jaxmap.model.mlps.dense import ACTIVATIONS, Mlp, activation


def gelu(x):
    return np.array([a * (1 + math.erf(a / math.sqrt(2))) / 2 for a in x.ravel()]).reshape(x.shape)


def gelu_tanh(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def silu(x):
    return x / (1 + np.exp(-x))


BY_HAND = {
    "gelu": gelu,
    "gelu_fast": gelu_tanh,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "silu": silu,
    "swish": silu,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = np.linspace(-12, 12, 4001).astype(np.float32)
    expected = BY_HAND[name](x.astype(np.float64))
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(x)), expected, rtol=2e-6, atol=2e-6)


def test_the_two_gelus_are_told_apart():
    x = np.linspace(-4, 4, 200)
    assert 1e-4 < np.abs(gelu(x) - gelu_tanh(x)).max() < 1e-3


@pytest.mark.parametrize("act", ["gelu", "silu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.7, 1.9)], ids=["plain", "multiplied"])
def test_mlp(factors, gated, bias, act):
    spec = spec_of(Config(CASES["gpt_neox"], "a test"))
    multipliers = dataclasses.replace(spec.multipliers, gate=factors[0], mlp_out=factors[1])
    changes = dict(act=act, gated=gated, mlp_bias=bias, F=20, multipliers=multipliers)
    spec = dataclasses.replace(spec, **changes)
    layer = Mlp(spec, Kind(), dtype=jnp.float32, rngs=nnx.Rngs(0))
    random = np.random.default_rng(1)
    w = {}
    for name in ("gate", "up", "down"):
        linear = getattr(layer, name)
        if linear is None:
            continue
        w[name] = random.normal(0, 0.4, linear.kernel.shape)
        linear.kernel[...] = jnp.asarray(w[name], jnp.float32)
        w[name, "bias"] = np.zeros(w[name].shape[-1])
        if linear.bias is not None:
            w[name, "bias"] = random.normal(0, 0.4, linear.bias.shape)
            linear.bias[...] = jnp.asarray(w[name, "bias"], jnp.float32)
    assert ("gate" in w) == gated
    x_BTD = random.normal(0, 1, (2, 3, spec.D))

    def linear(name, x):
        return x @ w[name] + w[name, "bias"]

    gate, out = factors
    up_BTF = linear("up", x_BTD)
    hidden = BY_HAND[act](gate * linear("gate", x_BTD)) * up_BTF if gated else BY_HAND[act](up_BTF)
    expected = out * linear("down", hidden)
    ours = layer(jnp.asarray(x_BTD, jnp.float32), None)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


def test_gelu_of_16_bit_activations_on_accelerators():
    platform = SimpleNamespace(platform="gpu")
    wide, narrow = jnp.dtype("float32"), jnp.dtype("bfloat16")
    x = np.concatenate([np.linspace(-12, 12, 40001), [-3e38, -1e4, 1e4, 3e38]])
    by_tanh = activation("gelu", platform, narrow)
    error = np.abs(np.asarray(by_tanh(jnp.asarray(x, wide)), np.float64) - gelu(x)) / (1 + abs(x))
    assert 1e-7 < error.max() < 3.5e-6
    assert activation("gelu", platform, wide) is ACTIVATIONS["gelu"]
    assert activation("gelu", None, narrow) is ACTIVATIONS["gelu"]
    assert by_tanh(jnp.asarray(x, narrow)).dtype == narrow
