"""The body of the attention kernel for TPUs: what one step computes; see `attention_tpu`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

LANES = 128
TILE = 128  # a window begins at a multiple of so many keys
_LOG2E = math.log2(math.e)
_NOTHING = -1e30  # a score that no exponential notices; infinities would make NaN


@dataclasses.dataclass(frozen=True)
class TileLayout:
    """How the channels of heads are laid out in lanes, and how many heads a step takes.

    Fields:
      C, Cv: lanes of a head of queries and keys, and of values.
      shared: the number of heads that lie side by side in one group of lanes.
      R: query heads per key/value head in a step.
      groups: key/value heads, or groups of `shared` ones, in a step.
      parts: the number of steps that read the same key/value head.
    """

    C: int
    Cv: int
    shared: int
    R: int
    groups: int
    parts: int


def _product(a: jax.Array, b: jax.Array, dims: tuple, passes: int) -> jax.Array:
    """`linear.multiply` in operations that the kernel's compiler supports.

    Of float32, `passes` products of bfloat16 halves; 0: one product of full precision.
    """

    def of(a: jax.Array, b: jax.Array, precision=None) -> jax.Array:
        return jax.lax.dot_general(
            a, b, (dims, ((), ())), precision=precision, preferred_element_type=jnp.float32
        )

    if a.dtype != jnp.float32:
        return of(a, b)
    if not passes:
        return of(a, b, jax.lax.Precision.HIGHEST)
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return of(a_low, b_high) + of(a_high, b_low) + of(a_high, b_high)


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    high = x.astype(jnp.bfloat16)
    return high, (x - high.astype(jnp.float32)).astype(jnp.bfloat16)


def _rounded(x: jax.Array) -> jax.Array:
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def kernel(
    first_ref,
    scale_ref,
    per_head_ref,
    back_ref,
    position_ref,
    *refs,
    at: TileLayout,
    T: int,
    Q: int,
    S: int,
    whole: bool,
    C: int,
    softcap: float,
    rounded: bool | None,
    sinks: bool,
    passes: int,
    partner: int,
):
    """One step: the attention of a block of Q queries of a row, for the step's heads.

    Args:
      first_ref: for each row and block, the first tile of keys that the block sees.
      scale_ref, per_head_ref: the factor on q·k; slopes and sinks, [2, H].
      back_ref, position_ref: see `attention_tpu.attend`, [1, 1, Q] and [1, 1, T].
      refs: cos and sin, [1, T, N], where `partner` is not 0; queries, keys and values of the row;
        the result; running maxima, sums and mixtures; keys after the rotary embedding.
      at: the layout of heads.
      T, Q, S: tokens of the row, queries of the block, keys of a window.
      whole: whether one window holds all keys that the block sees.
      C: channels of a head of queries, without padding.
      softcap, partner: see `attention_tpu.attend`.
      rounded: None: there are no slopes; else see `attention_tpu.attend`.
      sinks: whether there are sinks.
      passes: see `_product`.
    """
    cos_ref, sin_ref = refs[:2] if partner else (None, None)
    q_ref, k_ref, v_ref, out_ref, top_ref, total_ref, mix_ref, *turned = refs[2 * bool(partner) :]
    b, j, i = (pl.program_id(axis) for axis in range(3))
    heads = at.groups * at.R * at.shared
    scale = scale_ref[0]
    lane_1N = jax.lax.broadcasted_iota(jnp.int32, (1, at.C), 1)

    def own(h: int) -> jax.Array:
        """The lanes of the h-th of the heads that share them."""
        return (lane_1N >= h * C) & (lane_1N < (h + 1) * C)

    def turn(x_SN: jax.Array, rows: Any) -> jax.Array:
        """Applies the rotary embedding to heads of whole lanes, as `rotate` does."""
        cos_SN, sin_SN = cos_ref[0, rows], sin_ref[0, rows]
        x32_SN = x_SN.astype(jnp.float32)
        # Sines are negative on the first of each pair, or zero.
        other_SN = jnp.where(
            first_1N, pltpu.roll(x32_SN, at.C - partner, 1), pltpu.roll(x32_SN, partner, 1)
        )
        return (x32_SN * cos_SN + other_SN * sin_SN).astype(x_SN.dtype)

    if partner:
        (turned_ref,) = turned
        in_head_1N = lane_1N % C if at.shared > 1 else lane_1N
        first_1N = in_head_1N < partner if partner > 1 else in_head_1N % 2 == 0

        @pl.when(i == 0)
        def _():
            @pl.loop(0, T // Q)
            def _(n):
                rows = pl.ds(pl.multiple_of(n * Q, Q), Q)
                for group in range(at.groups):
                    own_lanes = slice(group * at.C, (group + 1) * at.C)
                    turned_ref[rows, own_lanes] = turn(k_ref[0, rows, own_lanes], rows)

    def scores(h: int, keys: Any, seen_QS: jax.Array) -> jax.Array:
        """The scores of a head as exponents of 2; -1e30 where a query does not see a key."""
        group, r = divmod(h, at.R * at.shared)
        own_lanes = slice(group * at.C, (group + 1) * at.C)
        k_SN = turned_ref[keys, own_lanes] if partner else k_ref[0, keys, own_lanes]
        lanes = (group * at.R + r) * at.C if at.shared == 1 else group * at.C
        q_QN = q_ref[0, :, lanes : lanes + at.C]
        if partner:
            q_QN = turn(q_QN, pl.ds(pl.multiple_of(i * Q, Q), Q))
        if at.shared > 1:
            q_QN = jnp.where(own(r), q_QN, jnp.zeros_like(q_QN))
        score_QS = _product(q_QN, k_SN, ((1,), (1,)), passes)
        if softcap:
            score_QS = (softcap * _LOG2E) * jnp.tanh(score_QS * (scale / softcap))
        else:
            score_QS = score_QS * (scale * _LOG2E)
        if rounded is not None:
            slope = per_head_ref[0, j * heads + h]
            place_1S = position_ref[0, :, keys].astype(jnp.float32)
            if rounded:
                slope_1S = _rounded(jnp.full(place_1S.shape, slope, jnp.float32))
                bias_1S = _rounded(slope_1S * _rounded(place_1S)) * scale
            else:
                bias_1S = slope * place_1S
            score_QS = score_QS + bias_1S * _LOG2E
        return jnp.where(seen_QS, score_QS, _NOTHING)

    def mixed(h: int, keys: Any, weight_QS: jax.Array) -> jax.Array:
        group = h // (at.R * at.shared)
        v_SN = v_ref[0, keys, group * at.Cv : (group + 1) * at.Cv]
        return _product(weight_QS.astype(v_SN.dtype), v_SN, ((1,), (0,)), passes)

    def window(start: jax.Array) -> tuple[Any, jax.Array]:
        """The rows of the S keys from `start` on, and which of them each query sees."""
        begin = pl.multiple_of(jnp.minimum(start, T - S), TILE)
        back_Q1 = back_ref[0].T
        s_QS = begin + jax.lax.broadcasted_iota(jnp.int32, (Q, S), 1)
        behind_QS = i * Q + jax.lax.broadcasted_iota(jnp.int32, (Q, S), 0) - s_QS
        seen_QS = (behind_QS >= 0) & (behind_QS <= back_Q1)
        if S < T and not whole:  # those before were in the window before this one
            seen_QS &= s_QS >= start
        return pl.ds(begin, S), seen_QS

    def sink(h: int) -> jax.Array:
        return per_head_ref[1, j * heads + h] * _LOG2E

    first = first_ref[b, i] * TILE
    if whole:
        keys, seen_QS = window(first)
    else:
        for h in range(heads):
            top_ref[h] = jnp.full((Q, LANES), sink(h) if sinks else _NOTHING, jnp.float32)
            total_ref[h] = jnp.full((Q, LANES), float(sinks), jnp.float32)
            mix_ref[h] = jnp.zeros((Q, at.Cv), jnp.float32)

        # Not //, which asks for the device's platform, where none may be there.
        @pl.loop(0, jax.lax.div((i + 1) * Q - first + S - 1, S))
        def _(n):
            keys, seen_QS = window(first + n * S)
            for h in range(heads):
                score_QS = scores(h, keys, seen_QS)
                before_QN = top_ref[h]
                top_QN = jnp.maximum(before_QN, jnp.max(score_QS, axis=1, keepdims=True))
                weight_QS = jnp.exp2(score_QS - _lanes(top_QN, S))
                shrunk_QN = jnp.exp2(before_QN - top_QN)
                total_Q1 = jnp.sum(weight_QS, axis=1, keepdims=True)
                total_ref[h] = total_ref[h] * shrunk_QN + total_Q1
                mix_QN = mixed(h, keys, weight_QS)
                mix_ref[h] = mix_ref[h] * _lanes(shrunk_QN, at.Cv) + mix_QN
                top_ref[h] = top_QN

    def result(h: int) -> jax.Array:
        if not whole:
            return mix_ref[h] / _lanes(total_ref[h], at.Cv)
        score_QS = scores(h, keys, seen_QS)
        top_Q1 = jnp.max(score_QS, axis=1, keepdims=True)
        if sinks:
            top_Q1 = jnp.maximum(top_Q1, sink(h))
        weight_QS = jnp.exp2(score_QS - top_Q1)
        total_Q1 = jnp.sum(weight_QS, axis=1, keepdims=True)
        if sinks:
            total_Q1 = total_Q1 + jnp.exp2(sink(h) - top_Q1)
        return mixed(h, keys, weight_QS) / total_Q1

    for group in range(at.groups * at.R):
        out_QN = result(group * at.shared)
        for r in range(1, at.shared):
            out_QN = jnp.where(own(r), result(group * at.shared + r), out_QN)
        out_ref[0, :, group * at.Cv : (group + 1) * at.Cv] = out_QN.astype(out_ref.dtype)


def _lanes(x_QN: jax.Array, width: int) -> jax.Array:
    """Repeats an array that is the same in all lanes until it has `width` of them."""
    return x_QN if width == LANES else jnp.concatenate([x_QN] * (width // LANES), axis=1)
