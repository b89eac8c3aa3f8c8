"""LLM.int8() layer by layer, on activations with outliers such as real models have.

Scores of 8-bit copies cannot be asked to agree text by text: a last bit flips a code, and after 30
layers a text is nats away. What can be asked of a layer, given its inputs: outlier columns, scales
and codes to the bit, in the order of operations of the format (float16, then reciprocal x 127 in
float32), and a product that is exact for these codes, next to what 8 bit itself costs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmap.model.encodings.int8 import int8_product, quantise_rows

N, I, O = 96, 576, 192  # noqa: E741 tokens, input and output features


def codes(x_NI, absmax_N):
    """int8 of float16 values by float32 arithmetic in the format's order; halves to even."""
    scale_N = np.float32(1) / absmax_N.astype(np.float32) * np.float32(127)
    return np.rint(x_NI.astype(np.float32) * scale_N[:, None])


def activations(massive, seed=0):
    """Heavy tails, columns of their own size, a few beyond 6, and massive ones in one token."""
    random = np.random.default_rng(seed)
    size_I = np.exp(random.normal(-1, 0.7, I))
    size_I[random.choice(I, 5, replace=False)] = 4
    x_NI = random.standard_t(6, (N, I)) * size_I
    if massive:
        x_NI[0, random.choice(I, 2, replace=False)] = [310, -95]
    return x_NI.astype(np.float32)


@pytest.mark.parametrize("massive", [False, True])
def test_a_layer_is_exact_for_its_codes(massive):
    x_NI = activations(massive)
    w_OI = np.random.default_rng(1).standard_t(5, (O, I)).astype(np.float32) * np.float32(0.04)
    half_NI, half_OI = x_NI.astype(np.float16), w_OI.astype(np.float16)

    weight_OI, absmax_O = map(np.asarray, quantise_rows(jnp.asarray(w_OI)))
    np.testing.assert_array_equal(absmax_O, np.abs(half_OI).max(1).astype(np.float32))
    np.testing.assert_array_equal(weight_OI, codes(half_OI, absmax_O))

    large_NI = np.abs(half_NI) >= 6
    apart_I = large_NI.any(0)
    assert 2 < apart_I.sum() < 32
    absmax_N = np.where(large_NI, 0, np.abs(half_NI)).max(1).astype(np.float32)
    code_NI = np.where(apart_I, 0, codes(np.where(apart_I, 0, half_NI), absmax_N))
    weight64_OI = weight_OI * (absmax_O[:, None].astype(np.float64) / 127)
    expected_NO = code_NI * (absmax_N[:, None].astype(np.float64) / 127) @ weight64_OI.T
    expected_NO += x_NI[:, apart_I].astype(np.float64) @ weight64_OI[:, apart_I].T

    given = (jnp.asarray(weight_OI), jnp.asarray(absmax_O), jnp.zeros(N, jnp.int32))
    ours_NO = np.asarray(jax.jit(int8_product)(jnp.asarray(x_NI), *given), np.float64)
    exact_NO = x_NI.astype(np.float64) @ w_OI.T.astype(np.float64)

    def rms(difference):
        return np.sqrt((difference**2).mean())

    cost = rms(expected_NO - exact_NO)  # of 8 bit itself
    assert 0.001 < cost / rms(exact_NO) < 0.1
    # One code in a million would show: it moves an output by some hundredths of the cost.
    assert rms(ours_NO - expected_NO) < 1e-4 * cost
    flipped_NI = code_NI.copy()
    flipped_NI[3, np.flatnonzero(~apart_I)[0]] += 1
    moved_NO = (flipped_NI - code_NI) * (absmax_N[:, None] / 127) @ weight64_OI.T
    assert rms(moved_NO) > 1e-3 * cost


def test_exact_arithmetic_gives_other_codes_at_halves():
    """Half of the largest is 63.5, which float32 rounds down for some of all float16 numbers."""
    absmax_N = np.arange(1024, 2048).astype(np.float16)
    x_NI = np.stack([absmax_N, absmax_N / 2], axis=1)
    code_OI = np.asarray(quantise_rows(jnp.asarray(x_NI, jnp.float32))[0])
    np.testing.assert_array_equal(code_OI, codes(x_NI, absmax_N))
    assert set(code_OI[:, 0]) == {127}
    assert set(code_OI[:, 1]) == {63, 64}  # 64 everywhere in exact arithmetic
    assert 0.05 < (code_OI[:, 1] == 63).mean() < 0.5


def test_outliers_in_bfloat16():
    """Activations that bfloat16 holds give what they give in float32, but for the rounding of the
    weights of outlier columns."""
    x_NI = np.asarray(jnp.asarray(activations(massive=True), jnp.bfloat16).astype(jnp.float32))
    w_OI = np.random.default_rng(1).standard_t(5, (O, I)).astype(np.float32) * np.float32(0.04)
    given = (*quantise_rows(jnp.asarray(w_OI)), jnp.zeros(N, jnp.int32))
    whole_NO = np.asarray(jax.jit(int8_product)(jnp.asarray(x_NI), *given))
    ours_NO = np.asarray(jax.jit(int8_product)(jnp.asarray(x_NI, jnp.bfloat16), *given))
    assert ours_NO.dtype == np.float32
    spread = whole_NO.std()
    assert 0 < np.abs(ours_NO - whole_NO).max() < 0.05 * spread * np.abs(x_NI).max() / 6
    assert np.sqrt(np.mean((ours_NO - whole_NO) ** 2)) < 0.01 * spread
