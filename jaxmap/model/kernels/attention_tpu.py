"""Attention on a TPU, a Pallas kernel that keeps its scores on the chip.

A block of queries meets a window of keys that begins where the text of its earliest query does, or
where the layer's window does. Where the batch's reach is short, one window holds all of them;
else the softmax goes by a running maximum over as many windows as the texts at hand need (Dao et
al. 2022, arXiv:2205.14135, after Milakov and Gimelshein 2018, arXiv:1805.02867). Letters, beside
those of `Spec`: Q queries of a block, S keys of a window, N lanes.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxmap.model.layers.linear import bfloat16_passes
from jaxmap.model.layers.rope import Turn

_LANES = 128
_QUERIES = 256  # of a block, at most
_TILE = 128  # keys that a window begins at a multiple of
_KEYS = 512  # of a window, unless all that a block of queries can see are few more
_MOST = 768  # keys that are taken in one window
_WIDTH = 1024  # bytes of a token's queries that a step takes, twice that of one key/value head
_ROOM = 16 << 20  # bytes of the keys and values of a row that a step may hold
_VMEM = 32 << 20  # bytes of the chip's own memory that a step may use
_LOG2E = math.log2(math.e)
_NOTHING = -1e30  # a score that no exponential notices; infinities would make NaN


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How heads lie in lanes.

    Fields:
      C, Cv: lanes of a head of queries and keys, and of values.
      shared: heads that lie side by side in one group of lanes; 1: a head has its own.
      R: query heads of a key/value head that a step takes.
      groups: key/value heads, or groups of `shared` ones, that a step takes.
      parts: steps that share a key/value head.
    """

    C: int
    Cv: int
    shared: int
    R: int
    groups: int
    parts: int


def _layout(H: int, G: int, C: int, Cv: int, dtype: Any) -> _Layout:
    size = jnp.dtype(dtype).itemsize
    shared = 1
    if H == G and Cv == C and _LANES % C == 0 and G % (_LANES // C) == 0:
        shared = _LANES // C
    own = (_LANES * pl.cdiv(C * shared, _LANES), _LANES * pl.cdiv(Cv * shared, _LANES))
    R, count = H // G, G // shared
    # Of one key/value head first, as far as they fit; of several only where all of each do.
    held = max((n for n in _divisors(R) if n * own[0] * size <= 2 * _WIDTH), default=1)
    lanes = held * own[0]
    fit = [n for n in _divisors(count) if n * lanes * size <= _WIDTH and held == R]
    return _Layout(*own, shared, held, max(fit, default=1), R // held)


def _divisors(n: int) -> list[int]:
    return [divisor for divisor in range(1, n + 1) if n % divisor == 0]


def supported(q: Any, k: Any, v: Any, reach: int) -> bool:
    """Whether the kernel can do it, by shapes and dtypes: the units multiply bfloat16 and float32,
    and the keys and values of a row must fit on the chip."""
    T, H, C = q.shape[1:]
    layout = _layout(H, k.shape[2], C, v.shape[3], q.dtype)
    row = layout.groups * (3 * layout.C + 2 * layout.Cv) * T * k.dtype.itemsize
    return q.dtype in (jnp.bfloat16, jnp.float32) and T % _LANES == 0 and row <= _ROOM


def lanes_of(turn: Turn, q: Any, k: Any) -> tuple[jax.Array, jax.Array, int]:
    """See `Turn.lanes`, for queries and keys of these shapes."""
    H, C = q.shape[2:]
    at = _layout(H, k.shape[2], C, C, q.dtype)
    return turn.lanes(C, at.C, at.shared)


def attend(
    q_BTHC: jax.Array,
    k_BTGC: jax.Array,
    v_BTGC: jax.Array,
    position_BT: jax.Array,
    back_BT: jax.Array,
    scale: jax.Array,
    cos_BTN: jax.Array | None,
    sin_BTN: jax.Array | None,
    slope_H: jax.Array | None,
    sink_H: jax.Array | None,
    *,
    partner: int = 0,
    reach: int,
    softcap: float,
    rounded: bool,
    interpret: bool,
) -> jax.Array:
    """What `jaxmap.model.mixers.attention.attend` says; at padding, each place sees itself.

    Args:
      position_BT: place of each token in its text.
      back_BT: how many earlier tokens each sees.
      scale: factor on q·k.
      cos_BTN, sin_BTN, partner: see `lanes_of`; None: queries and keys are turned already.
      slope_H, rounded, sink_H: see `Alibi` and `attend`; None: none.
    """
    B, T, H, C = q_BTHC.shape
    G, Cv = v_BTGC.shape[2:]
    at = _layout(H, G, C, Cv, q_BTHC.dtype)
    Q = math.gcd(_QUERIES, T)
    S, whole = _keys(T, Q, reach)
    low_BT = jnp.arange(T, dtype=jnp.int32) - back_BT
    first_BX = jnp.min(low_BT.reshape(B, T // Q, Q), axis=-1) // _TILE
    slope = jnp.zeros(H, jnp.float32) if slope_H is None else slope_H
    sink = jnp.zeros(H, jnp.float32) if sink_H is None else sink_H.astype(jnp.float32)
    per_head_2H = jnp.stack([slope, sink])
    step_q, step_k, step_v = at.groups * at.R * at.C, at.groups * at.C, at.groups * at.Cv
    step_o = at.groups * at.R * at.Cv
    heads = at.groups * at.R * at.shared
    steps = H // heads

    def block(lanes: int) -> pl.BlockSpec:
        """A block of queries, or of results."""
        return pl.BlockSpec((1, Q, lanes), lambda b, j, i, *_: (b, i, j))

    turning: list[pl.BlockSpec] = []
    tables: tuple[jax.Array, ...] = ()
    if cos_BTN is not None and sin_BTN is not None:
        tables = (cos_BTN, sin_BTN)
        turning = [pl.BlockSpec((1, T, at.C), lambda b, j, i, *_: (b, 0, 0))] * 2

    out_BTN = pl.pallas_call(
        partial(
            _kernel, at=at, T=T, Q=Q, S=S, whole=whole, C=C, softcap=softcap,
            rounded=None if slope_H is None else rounded,
            sinks=sink_H is not None, passes=bfloat16_passes(), partner=partner,
        ),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(B, steps, T // Q),
            in_specs=[
                pl.BlockSpec(memory_space=pltpu.SMEM),
                pl.BlockSpec((1, 1, Q), lambda b, j, i, *_: (b, 0, i)),
                pl.BlockSpec((1, 1, T), lambda b, j, i, *_: (b, 0, 0)),
                *turning,
                block(step_q),
                *(
                    pl.BlockSpec((1, T, step), lambda b, j, i, *_: (b, 0, jax.lax.div(j, at.parts)))
                    for step in (step_k, step_v)
                ),
            ],
            out_specs=block(step_o),
            scratch_shapes=[
                pltpu.VMEM((1 if whole else heads, Q, N), jnp.float32)
                for N in (_LANES, _LANES, at.Cv)
            ]
            + [pltpu.VMEM((T, step_k), k_BTGC.dtype)] * bool(turning),
        ),
        out_shape=jax.ShapeDtypeStruct((B, T, steps * step_o), q_BTHC.dtype),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=_VMEM
        ),
        cost_estimate=_cost(B, T, Q, at, H, reach, q_BTHC.dtype),
        interpret=interpret,
        name="attention",
    )(
        first_BX,
        scale.reshape(1),
        per_head_2H,
        back_BT[:, None],
        position_BT[:, None],
        *tables,
        *(_in_lanes(x, width, at.shared) for x, width in
          ((q_BTHC, at.C), (k_BTGC, at.C), (v_BTGC, at.Cv))),
    )  # fmt: skip
    if at.shared > 1:
        return out_BTN.reshape(B, T, H, Cv)
    return out_BTN.reshape(B, T, H, at.Cv)[..., :Cv]


def _keys(T: int, Q: int, reach: int) -> tuple[int, bool]:
    """Keys of a window, and whether it holds all that a block of queries sees."""
    most = min(_TILE * pl.cdiv(Q + reach - 1, _TILE), T)
    return (most, True) if most <= _MOST else (min(_KEYS, T), False)


def _in_lanes(x_BTHC: jax.Array, width: int, shared: int) -> jax.Array:
    """[B, T, lanes]: heads side by side, each on whole lanes unless they share them."""
    B, T, _, C = x_BTHC.shape
    if shared == 1 and width != C:
        x_BTHC = jnp.pad(x_BTHC, [(0, 0), (0, 0), (0, 0), (0, width - C)])
    return x_BTHC.reshape(B, T, -1)


def _cost(B: int, T: int, Q: int, at: _Layout, H: int, reach: int, dtype) -> pl.CostEstimate:
    """Of texts as long as the reach: lanes that are padding, or another head's, count."""
    S, whole = _keys(T, Q, reach)
    windows = sum(
        1 if whole else -(-(start + Q - max(0, start - reach + 1) // _TILE * _TILE) // S)
        for start in range(0, T, Q)
    )
    scores = B * H * windows * Q * S
    passes = bfloat16_passes() or (1 if dtype == jnp.bfloat16 else 6)
    heads = H // at.shared
    size = jnp.dtype(dtype).itemsize
    return pl.CostEstimate(
        flops=int(2 * scores * (at.C + at.Cv) * passes),
        transcendentals=int(scores),
        bytes_accessed=B * T * size * (heads * (at.C + at.Cv) + heads // at.R * (at.C + at.Cv)),
    )


def _product(a: jax.Array, b: jax.Array, dims: tuple, passes: int) -> jax.Array:
    """`linear.multiply` in the words that the kernel's compiler knows."""

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


def _kernel(
    first_ref,
    scale_ref,
    per_head_ref,
    back_ref,
    position_ref,
    *refs,
    at: _Layout,
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
        """Heads of whole lanes, turned as `rotate` does it."""
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
        """Of base 2, -1e30 where a query does not see a key."""
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
        """The S keys from a tile's first on, and which of them each query sees."""
        begin = pl.multiple_of(jnp.minimum(start, T - S), _TILE)
        back_Q1 = back_ref[0].T
        s_QS = begin + jax.lax.broadcasted_iota(jnp.int32, (Q, S), 1)
        behind_QS = i * Q + jax.lax.broadcasted_iota(jnp.int32, (Q, S), 0) - s_QS
        seen_QS = (behind_QS >= 0) & (behind_QS <= back_Q1)
        if S < T and not whole:  # those before were in the window before this one
            seen_QS &= s_QS >= start
        return pl.ds(begin, S), seen_QS

    def sink(h: int) -> jax.Array:
        return per_head_ref[1, j * heads + h] * _LOG2E

    first = first_ref[b, i] * _TILE
    if whole:
        keys, seen_QS = window(first)
    else:
        for h in range(heads):
            top_ref[h] = jnp.full((Q, _LANES), sink(h) if sinks else _NOTHING, jnp.float32)
            total_ref[h] = jnp.full((Q, _LANES), float(sinks), jnp.float32)
            mix_ref[h] = jnp.zeros((Q, at.Cv), jnp.float32)

        # Not //, whose sign is asked of a device that need not be here.
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
    """A column that is the same in all lanes, on more lanes."""
    return x_QN if width == _LANES else jnp.concatenate([x_QN] * (width // _LANES), axis=1)
