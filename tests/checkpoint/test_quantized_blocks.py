"""Blocks in 4 bits and products in 8 bits, number by number."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from bitsandbytes import functional

from jaxmap.model.encodings.four_bit import CODES, pack, unpack
from jaxmap.model.encodings.int8 import int8_product, quantise_rows

random = np.random.default_rng(7)

WIDTHS = [119, 1, 64, 0, 41, 40, 2, 90, 13]


@pytest.mark.parametrize("code", CODES)
def test_code_tables(code):
    theirs = functional.get_4bit_type(code, device="cpu").numpy()
    np.testing.assert_array_equal(CODES[code], theirs)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", [(1, 64), (300, 64), (144, 48), (37, 51), (5, 1), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_blocks(code, shape, dtype):
    weight = random.standard_t(3, shape) * 0.02
    weight[:, 3::7] = 0
    if shape == (300, 64):
        weight[5] = 0  # a block of zeros
        # The middle between two values of the table, and its neighbours.
        value = np.sort(CODES[code])
        middle = (value[1:] + value[:-1]) / 2
        middle = middle[middle != 0]  # after 0 come numbers that XLA takes for 0
        more = np.nextafter(middle, np.float32(2))
        weight[6, : len(middle)], weight[6, 20 : 20 + len(more)], weight[6, 63] = middle, more, 1
    weight = weight.astype(dtype)
    packed, scale, values = quantised_reference.four_bit(torch.from_numpy(weight), code)
    ours = jax.jit(pack, static_argnums=1)(jnp.asarray(weight).reshape(-1), code)
    np.testing.assert_array_equal(ours[0], packed)
    np.testing.assert_array_equal(ours[1], scale)
    again = unpack(*ours, code, weight.size).astype(dtype)
    np.testing.assert_array_equal(np.asarray(again).reshape(shape), values.numpy())
    assert ours[0].nbytes == math.ceil(weight.size / 2)


def test_int8_weights():
    weight = random.normal(size=(500, 48)) * random.lognormal(size=(500, 1)) * 0.1
    weight[3] = 0
    codes, absmax, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight[:3]).half())
    ours = jax.jit(quantise_rows)(jnp.asarray(weight, jnp.float32))
    np.testing.assert_array_equal(ours[0][:3], codes)
    np.testing.assert_array_equal(ours[1][:3], absmax)
    rest, rest_absmax, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight[4:]).half())
    np.testing.assert_array_equal(ours[0][4:], rest)
    np.testing.assert_array_equal(ours[1][4:], rest_absmax)
    assert not np.asarray(ours[0][3]).any()  # PyTorch casts 0 / 0, undefined, to an integer


def int8_oracle(x_NI, codes_OI, absmax_O, texts) -> np.ndarray:
    """LLM.int8() in NumPy, one text after another; exact but for float16 before the codes."""
    y_NO = np.empty((len(x_NI), len(codes_OI)))
    for text in texts:
        half = x_NI[text].astype(np.float16).astype(np.float64)
        apart = (np.abs(half) >= 6).any(0)
        absmax = np.where(np.abs(half) >= 6, 0, np.abs(half)).max(1, keepdims=True)
        # In float32 and this order: where a value is half the largest, the last bit decides.
        scale = np.float32(1) / absmax.astype(np.float32) * np.float32(127)
        codes = np.rint(half[:, ~apart].astype(np.float32) * scale).astype(np.float64)
        weight = codes_OI.astype(np.float64) * absmax_O[:, None] / 127
        y_NO[text] = codes * (absmax / 127) @ weight[:, ~apart].T
        y_NO[text] += x_NI[text][:, apart] @ weight[:, apart].T
    return y_NO


def test_int8_product():
    x_NI = random.normal(size=(60, 48)).astype(np.float32)
    # Three texts: none, one and two outlier columns; 6 itself is one, a bit less is not.
    x_NI[0, 3], x_NI[25, 5], x_NI[45, 7], x_NI[50, 5] = 5.99, -40, 6, 9
    texts = [slice(0, 20), slice(20, 40), slice(40, 60)]
    first_N = jnp.asarray(np.repeat([0, 20, 40], 20))
    codes_OI, absmax_O = quantise_rows(jnp.asarray(random.normal(size=(30, 48)), jnp.float32))
    y_NO = jax.jit(int8_product)(jnp.asarray(x_NI), codes_OI, absmax_O, first_N)
    expected_NO = int8_oracle(x_NI, np.asarray(codes_OI), np.asarray(absmax_O), texts)
    np.testing.assert_allclose(y_NO, expected_NO, rtol=0, atol=3e-5)

    layer = quantised_reference.Int8(torch.zeros(30, 48), None)
    layer.codes, layer.absmax = torch.tensor(np.asarray(codes_OI)), torch.tensor(absmax_O.tolist())
    for text in texts:
        theirs = layer(torch.from_numpy(x_NI[text])).numpy()
        np.testing.assert_allclose(y_NO[text], theirs, rtol=0, atol=3e-5)
    # To be wrong about the columns would show.
    one_text = jax.jit(int8_product)(jnp.asarray(x_NI), codes_OI, absmax_O, first_N * 0)
    assert np.abs(one_text - y_NO).max() > 1e-2


@pytest.mark.parametrize("count", [0, 1, 32, 33, 47])
def test_int8_product_with_many_outliers(count):
    """However many columns are kept out of 8 bit, the numbers are the same."""
    x_NI = random.normal(size=(40, 48)).astype(np.float32)
    x_NI[3, :count] = 9
    codes_OI, absmax_O = quantise_rows(jnp.asarray(random.normal(size=(30, 48)), jnp.float32))
    first_N = jnp.asarray(np.repeat([0, 20], 20))
    y_NO = jax.jit(int8_product)(jnp.asarray(x_NI), codes_OI, absmax_O, first_N)
    texts = [slice(0, 20), slice(20, 40)]
    expected_NO = int8_oracle(x_NI, np.asarray(codes_OI), np.asarray(absmax_O), texts)
    np.testing.assert_allclose(y_NO, expected_NO, rtol=0, atol=1e-3)
