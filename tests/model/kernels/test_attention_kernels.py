"""Kernels of attention, run by Pallas's interpreter, against the plain code and NumPy float64.

What a kernel gives at padding is nobody's: it is left out.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmap.model.attention_facts import Alibi
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.kernels import attention_tpu
from jaxmap.model.kernels.attention import by_kernel
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.layers.rope import Turn
from jaxmap.model.mixers.dot_product_attention import attend, attend_in_blocks

REACH = 150


def batch(T, B=2):
    """Segments and positions of rows of texts of 1 to REACH tokens, the rest padding."""
    random = np.random.default_rng(T)
    segment_BT, position_BT = np.zeros((2, B, T), np.int32)
    for row in range(B):
        start, number = 0, 1
        while (length := int(random.integers(1, REACH + 1))) + start <= T:
            segment_BT[row, start : start + length] = number
            position_BT[row, start : start + length] = np.arange(length)
            start, number = start + length, number + 1
    return segment_BT, position_BT


def drawn(T, H, G, C, Cv, dtype):
    random = np.random.default_rng(5)
    shapes = (2, T, H, C), (2, T, G, C), (2, T, G, Cv)
    return [jnp.asarray(random.normal(0, 1.2, shape), dtype) for shape in shapes]


def facts(C, window=0):
    one = jnp.float32(1)
    return LayerFacts(jnp.float32(C**-0.5), jnp.int32(window), jnp.int32(-1), one, one)


def turn_of(position_BT, R, pairs, on=None):
    angle = position_BT[..., None, None] * 0.8 ** np.arange(R)
    cos, sin = (1.1 * jnp.asarray(wave(angle), jnp.float32) for wave in (np.cos, np.sin))
    return Turn(cos, sin, pairs, None if on is None else jnp.bool_(on))


def both(platform, T, H, G, C, Cv, dtype, *, window=0, rope=None, sinks=False, how=None, **given):
    """What the kernel and the plain code make of the same numbers, and which places count."""
    segment_BT, position_BT = batch(T)
    q, k, v = drawn(T, H, G, C, Cv, dtype)
    where = Geometry(
        jnp.asarray(segment_BT), jnp.asarray(position_BT), None, None, REACH, 64, platform
    )
    turn = None if rope is None else turn_of(position_BT, *rope)
    if sinks:
        given["sink_H"] = jnp.asarray(np.random.default_rng(1).normal(0, 1, H), dtype)

    def kernel(q, k, v):
        with computing_in(how or jnp.dtype(dtype).name):
            return by_kernel(q, k, v, where, facts(C, window), turn=turn, interpret=True, **given)

    def plain(q, k, v):
        if turn is not None:
            q, k = turn(q), turn(k)
        return attend_in_blocks(q, k, v, where, facts(C, window), **given)

    found, expected = jax.jit(kernel)(q, k, v), jax.jit(plain)(q, k, v)
    assert found.dtype == expected.dtype
    seen_BT = segment_BT > 0
    return np.float64(found)[seen_BT], np.float64(expected)[seen_BT]


def alibi(H, rounded):
    return Alibi(tuple(float(2.0**-i) for i in range(1, H + 1)), rounded)


CASES = {
    # T, H, G, C, Cv, dtype, and what else
    "heads that share lanes, rope": (384, 4, 4, 64, 64, "float32", dict(rope=(8, "half"))),
    "four to a group of lanes": (256, 4, 4, 32, 32, "float32", {}),
    "grouped heads, window, sinks, rope of neighbours": (
        *(384, 4, 2, 64, 64, "float32"),
        dict(window=50, sinks=True, rope=(32, "adjacent")),
    ),
    "one key head that steps share, cap": (256, 6, 1, 128, 128, "float32", dict(softcap=5.0)),
    "wide heads, rope of all channels": (256, 2, 1, 256, 256, "float32", dict(rope=(128, "half"))),
    "two widths, as latent attention": (256, 2, 2, 192, 128, "float32", {}),
    "heads of 80 with ALiBi": (256, 3, 3, 80, 80, "float32", dict(alibi=alibi(3, False))),
    "rounded ALiBi, a rope that is off": (
        *(256, 4, 4, 64, 64, "float32"),
        dict(alibi=alibi(4, True), rope=(16, "half", False)),
    ),
    "bfloat16, rope": (256, 4, 4, 64, 64, "bfloat16", dict(rope=(8, "half"))),
    "three passes": (256, 2, 2, 64, 64, "float32", dict(how="bfloat16_3x")),
}
BOUNDS = {"float32": 1e-5, "bfloat16": 0.02, "bfloat16_3x": 1e-4}


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        *((name, "one") for name in CASES),
        *((name, "many") for name in list(CASES)[::2]),
    ],
)
def test_the_tpu_kernel_agrees_with_the_plain_code(name, windows, monkeypatch):
    *shape, given = CASES[name]
    if windows == "many":
        monkeypatch.setattr(attention_tpu, "_MOST", 0)
        monkeypatch.setattr(attention_tpu, "_KEYS", 128)
    found, expected = both("tpu", *shape, **given)
    error = np.abs(found - expected).max()
    assert error < BOUNDS[given.get("how", shape[-1])]
    assert np.abs(expected).max() > 1


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "how" not in case[-1]])
def test_the_gpu_kernel_agrees_with_the_plain_code(name):
    *shape, _, given = CASES[name]
    found, expected = both("gpu", *shape, "float16", **given)
    assert np.abs(found - expected).max() < 4e-3
    assert np.abs(expected).max() > 1


def test_the_tpu_kernel_against_float64():
    segment_BT, position_BT = batch(256)
    q, k, v = drawn(256, 2, 2, 64, 64, "float32")
    where = Geometry(
        jnp.asarray(segment_BT), jnp.asarray(position_BT), None, None, REACH, 64, "tpu"
    )
    found = by_kernel(q, k, v, where, facts(64), interpret=True)
    assert found is not None
    q, k, v = (np.float64(x) for x in (q, k, v))
    for row, t in [(0, 0), (0, 77), (1, 130), (1, 200)]:
        if not segment_BT[row, t]:
            continue
        keys = slice(t - position_BT[row, t], t + 1)
        score_HS = np.einsum("hc,shc->hs", q[row, t], k[row, keys]) / 8
        share_HS = np.exp(score_HS - score_HS.max(-1, keepdims=True))
        share_HS /= share_HS.sum(-1, keepdims=True)
        expected = np.einsum("hs,shc->hc", share_HS, v[row, keys])
        np.testing.assert_allclose(found[row, t], expected, atol=2e-6)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_what_a_kernel_cannot_do_is_done_by_the_plain_code(platform):
    segment_BT, position_BT = batch(160)  # no multiple of 128
    q, k, v = drawn(160, 2, 2, 16, 16, "float32")
    where = Geometry(
        jnp.asarray(segment_BT), jnp.asarray(position_BT), None, None, REACH, 64, platform
    )
    assert by_kernel(q, k, v, where, facts(16)) is None
    found = attend(q, k, v, where, facts(16))
    expected = attend_in_blocks(q, k, v, where, facts(16))
    np.testing.assert_array_equal(found, expected)
