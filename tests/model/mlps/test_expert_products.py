"""Experts' products by the GPU's kernel, run by Pallas's interpreter, in every arithmetic."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmap.model.encodings.int8 import Int8Experts, quantise_rows
from jaxmap.model.expert_facts import ClampedSwiglu
from jaxmap.model.kernels import experts_gpu
from jaxmap.model.layers.linear import Linear, computing_in
from jaxmap.model.mlps.expert_blocks import ExpertBlocks
from jaxmap.model.mlps.expert_products import ExpertLinears, ExpertProducts

E, K, D, F, N = 5, 2, 96, 160, 61


def linears(dtype, biased=True):
    random = np.random.default_rng(3)

    def layer(equation, rows, columns):
        make = dict(stack="x", dtype=dtype, rngs=nnx.Rngs(0))
        bias = (E, columns) if biased else None
        linear = Linear(equation, (E, rows, columns), bias=bias, **make)
        linear.kernel[...] = jnp.asarray(random.normal(0, 0.2, (E, rows, columns)), dtype)
        if biased:
            linear.bias[...] = jnp.asarray(random.normal(0, 1, (E, columns)), dtype)
        return linear

    return ExpertLinears(
        *(layer("nd,df->nf", D, F) for _ in range(2)), down=layer("nf,fd->nd", F, D)
    )


def tokens(dtype):
    random = np.random.default_rng(4)
    x_ND = jnp.asarray(random.normal(0, 1, (N, D)), dtype)
    return x_ND, jnp.asarray(random.integers(0, E - 1, (N, K)))  # an expert that nobody chose


def packed(linear):
    """The layer in int8."""
    kernel = linear.kernel[...].astype(jnp.float32)
    weight, absmax = jax.vmap(quantise_rows)(kernel.swapaxes(1, 2))
    return Int8Experts(weight, absmax, bias=None)


def exactly(of, x_ND, index_NK, act):
    """The outputs [N, K, D] in float64."""
    kernel = {name: np.float64(layer.kernel[...]) for name, layer in of._asdict().items()}
    bias = {name: np.float64(layer.bias[...]) for name, layer in of._asdict().items()}
    out = np.empty((N, K, D))
    for n, k in np.ndindex(N, K):
        e, x = int(index_NK[n, k]), np.float64(x_ND[n])
        gate, up = (x @ kernel[name][e] + bias[name][e] for name in ("gate", "up"))
        out[n, k] = act(gate, up) @ kernel["down"][e] + bias["down"][e]
    return out


@pytest.mark.parametrize(
    ("dtype", "weights", "bound"),
    [
        ("float32", "float32", 3e-6),
        ("bfloat16_3x", "float16", 3e-5),
        pytest.param("float32", "float16", 3e-6, marks=pytest.mark.slow),
        pytest.param("bfloat16_3x", "bfloat16", 3e-5, marks=pytest.mark.slow),
    ],
)
def test_32_bits_agree_with_float64(dtype, weights, bound):
    of, (x_ND, index_NK) = linears(weights), tokens("float32")
    products = ExpertProducts("silu", ClampedSwiglu(1.7, 0.9))
    assert products.fit_the_kernel(of, x_ND)

    def run(x_ND, index_NK):
        with computing_in(dtype):
            return products.by_kernel(of, x_ND, index_NK, interpret=True)

    def act(gate, up):
        gate, up = np.minimum(gate, 0.9), np.clip(up, -0.9, 0.9)
        return gate / (1 + np.exp(-1.7 * gate)) * (up + 1)

    found = jax.jit(run)(x_ND, index_NK)
    assert found.dtype == jnp.float32
    expected = exactly(of, x_ND, index_NK, act)
    assert np.abs(found - expected).max() < bound * np.abs(expected).max()


@pytest.mark.parametrize(
    ("dtype", "outliers"),
    [
        ("float32", 0),
        ("bfloat16", 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("float32", 3), ("float32", 50), ("bfloat16", 0), ("bfloat16", 50)]
        ),
    ],
)
def test_8_bits_are_those_of_the_blocks(dtype, outliers):
    """The same codes, whose sums are exact, and outlier columns: none, some, and most of them."""
    of, (x_ND, index_NK) = linears(dtype, biased=False), tokens(dtype)
    x_ND = x_ND.at[7, :outliers].set(9.0)

    of, products = ExpertLinears(*map(packed, of)), ExpertProducts("silu")
    assert products.fit_the_kernel(of, x_ND)
    first_N = jnp.arange(N) // 30 * 30  # texts of 30 tokens
    run = partial(products.in_int8, of, first_N=first_N)
    by_kernel = partial(run, kernel=True, interpret=True)
    by_ragged_dot = partial(products.in_int8_by_ragged_dot, of, first_N=first_N)
    expected = jax.jit(run)(x_ND, index_NK)
    scale = float(jnp.abs(expected).max())
    assert scale > 1
    for grouped in (by_kernel, by_ragged_dot):
        found = jax.jit(grouped)(x_ND, index_NK)
        # Sums of outlier columns may be rounded otherwise, and in bfloat16 change a code.
        assert float(jnp.abs(found - expected).max()) <= scale * (1e-6 if outliers == 0 else 0.01)


def test_8_bits_of_the_experts_of_one_device():
    """Choices of another device's experts are zero, whatever stands where they are computed."""
    of, (x_ND, index_NK) = linears("float32", biased=False), tokens("float32")
    of, products = ExpertLinears(*map(packed, of)), ExpertProducts("silu")
    x_ND = x_ND.at[7, :3].set(9.0)
    index_NK = index_NK.at[::3, 1].set(E).at[5].set(E)
    how = dict(first_N=jnp.arange(N) // 30 * 30, some=True)
    expected = jax.jit(partial(products.in_int8, of, **how))(x_ND, index_NK)
    found = jax.jit(partial(products.in_int8_by_ragged_dot, of, **how))(x_ND, index_NK)
    assert (found[index_NK == E] == 0).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "k", "experts"), [("qwen3-30b-a3b", 8, 128), ("gpt-oss-20b", 4, 32)]
)
def test_blocks_add_an_eighth_at_most_to_the_routed_products(shape, k, experts):
    """A batch of 16,384 tokens, as a GPU computes it, and as blocks one after another."""
    choices = 16384 * k
    index_NK = jax.ShapeDtypeStruct((16384, k), jnp.int32)
    for size in (experts_gpu.block_size(choices, experts), 64):
        of = partial(ExpertBlocks.of, E=experts, size=size)
        blocks = jax.eval_shape(lambda index, of=of: of(index).token_P, index_NK)
        assert choices <= blocks.size <= 1.13 * choices, shape
