"""Linear layers by the GPU's kernel, run by Pallas's interpreter, against NumPy float64."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from jaxmap.model.inputs import Geometry
from jaxmap.model.layers import fused_products
from jaxmap.model.layers.linear import Linear, added, by_gpu_kernel

ACTS = {
    "": lambda x: x,
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu_new": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def layer(equation, shape, bias, dtype):
    random = np.random.default_rng(len(equation))
    linear = Linear(equation, shape, bias=bias, dtype=dtype, rngs=nnx.Rngs(0))
    linear.kernel[...] = jnp.asarray(random.normal(0, 0.2, shape), dtype)
    if linear.bias is not None:
        linear.bias[...] = jnp.asarray(random.normal(0, 1, bias), dtype)
    return linear


def exactly(linear, x):
    y = np.einsum(linear.equation, np.float64(x), np.float64(linear.kernel[...]))
    return y if linear.bias is None else y + np.float64(linear.bias[...])


CASES = {
    # equation, shape of the kernel, whether there is a bias, activation, dtype
    "heads, odd widths": ("btd,dhc->bthc", (48, 3, 57), True, "", "float16"),
    "of heads": ("bthc,hcd->btd", (3, 16, 200), True, "", "bfloat16"),
    "up": ("btd,df->btf", (80, 331), True, "gelu", "float16"),
    "up in bfloat16": ("btd,df->btf", (80, 331), True, "gelu_new", "bfloat16"),
    "without bias": ("btd,df->btf", (64, 128), False, "relu2", "float16"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_agrees_with_float64(name):
    equation, shape, biased, act, dtype = CASES[name]
    inner = equation.split(",")[0].count("d") or 2
    linear = layer(equation, shape, shape[inner:] if biased else None, dtype)
    x = jnp.asarray(np.random.default_rng(1).normal(0, 1, (2, 128, *shape[:inner])), dtype)
    found = jax.jit(partial(by_gpu_kernel, [linear], act=act, interpret=True))(x)
    assert found.dtype == x.dtype
    expected = ACTS[act](exactly(linear, x))
    rounding = float(jnp.finfo(dtype).eps) / 2
    # One rounding, the sum in float32, and GELU's polynomial.
    np.testing.assert_allclose(np.float64(found), expected, rtol=1.01 * rounding, atol=2e-5)
    assert expected.shape == found.shape


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_gated_pair_of_layers_agrees_with_float64(dtype):
    gate, up = (layer(equation, (96, 160), (160,), dtype) for equation in ("btd,df->btf",) * 2)
    up.kernel[...] = up.kernel[...][::-1]
    x = jnp.asarray(np.random.default_rng(1).normal(0, 1, (1, 256, 96)), dtype)
    found = by_gpu_kernel([gate, up], x, "silu", interpret=True)
    expected = ACTS["silu"](exactly(gate, x)) * exactly(up, x)
    rounding = float(jnp.finfo(dtype).eps) / 2
    np.testing.assert_allclose(np.float64(found), expected, rtol=1.01 * rounding, atol=2e-5)


def test_a_layer_is_added_to_a_stream():
    random = np.random.default_rng(3)
    linear = layer("bthc,hcd->btd", (3, 16, 200), (200,), "float16")
    x, stream = (jnp.asarray(random.normal(0, 1, (2, 128, n)), "float16") for n in (48, 200))
    x = x.reshape(2, 128, 3, 16)
    found = by_gpu_kernel([linear], x, stream=stream, interpret=True)
    expected = np.float64(stream) + exactly(linear, x)
    # One rounding of the sum.
    np.testing.assert_allclose(np.float64(found), expected, rtol=1.01 * 2.0**-11, atol=2e-5)
    plain = added(stream, linear, x, None)
    np.testing.assert_allclose(np.float64(plain), expected, rtol=3 * 2.0**-11, atol=5e-3)


@pytest.mark.parametrize("act", fused_products.FUSED)
def test_activations_are_those_of_the_plain_code(act):
    x = np.concatenate([np.linspace(-12, 12, 4001), [-6e4, -300, 300, 6e4]]).astype(np.float32)
    name = {"swish": "silu", "gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}.get(act, act)
    with np.errstate(over="ignore"):
        expected = ACTS[name](np.float64(x))
    found = np.float64(fused_products.FUSED[act](jnp.asarray(x)))
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=4e-6)


def test_what_the_kernel_does_not_compute():
    of = partial(layer, "btd,df->btf", bias=None, dtype="float16")
    x = jnp.zeros((1, 128, 64), jnp.float16)
    assert by_gpu_kernel([of((64, 128))], x, interpret=True) is not None
    assert by_gpu_kernel([of((64, 128))], x.astype(jnp.float32)) is None  # 32 bits
    assert by_gpu_kernel([of((64, 128))], x[:, :100]) is None  # no whole tile of tokens
    assert by_gpu_kernel([of((64, 72))], x) is None  # nor of columns
    wide = jnp.zeros((1, 128, 4096), jnp.float16)
    assert by_gpu_kernel([of((4096, 128))], wide) is None  # better left to a library
    stream = jnp.zeros((1, 128, 128), jnp.float16)
    assert by_gpu_kernel([of((4096, 128))], wide, stream=stream) is None
    biased = layer("btd,df->btf", (4096, 128), (128,), "float16")
    assert by_gpu_kernel([biased], wide) is None
    assert by_gpu_kernel([biased], wide, stream=stream, interpret=True) is not None
    assert by_gpu_kernel([biased], wide, stream=stream.astype(jnp.float32)) is None
    other = layer("btd,df->btf", (64, 128), None, "bfloat16")
    assert by_gpu_kernel([other], x) is None  # weights of another dtype
    plain = of((64, 128))(x, Geometry(*[None] * 4, 1, 1, "gpu"))
    np.testing.assert_array_equal(plain, 0)
