"""Attention on a TPU: a Pallas kernel that keeps its scores on the chip.

A step of the kernel takes a block of queries of some heads. It visits windows of keys from the
first key that its earliest query sees (where its text or the layer's window begins) to its own.
Where the batch's reach is short, one window holds all of these keys. Otherwise the softmax keeps a
running maximum over as many windows as the texts of the block need (Dao et al. 2022,
arXiv:2205.14135, after Milakov and Gimelshein 2018, arXiv:1805.02867).

Axes, besides those of `Spec`: Q queries of a block, S keys of a window, N lanes.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxmap.model.kernels.attention_tpu_kernel import LANES, TILE, TileLayout, kernel
from jaxmap.model.layers.linear import bfloat16_passes
from jaxmap.model.layers.rope import Turn

_QUERIES = 256  # the most queries in a block
_KEYS = 512  # in a window, where one does not hold all keys that a block of queries sees
_MOST = 768  # the most keys that one window holds
_WIDTH = 1024  # bytes of a token's queries in a step; of one key/value head alone, twice as many
_ROOM = 16 << 20  # the most bytes of keys and values of a row in a step
_VMEM = 32 << 20  # the most bytes of the chip's own memory that a step uses


def _layout(H: int, G: int, C: int, Cv: int, dtype: Any) -> TileLayout:
    size = jnp.dtype(dtype).itemsize
    shared = 1
    if H == G and Cv == C and LANES % C == 0 and G % (LANES // C) == 0:
        shared = LANES // C
    own = (LANES * pl.cdiv(C * shared, LANES), LANES * pl.cdiv(Cv * shared, LANES))
    R, count = H // G, G // shared
    # Of one key/value head first, as far as they fit; of several only where all of each do.
    heads = max((n for n in _divisors(R) if n * own[0] * size <= 2 * _WIDTH), default=1)
    lanes = heads * own[0]
    fit = [n for n in _divisors(count) if n * lanes * size <= _WIDTH and heads == R]
    return TileLayout(*own, shared, heads, max(fit, default=1), R // heads)


def _divisors(n: int) -> list[int]:
    return [divisor for divisor in range(1, n + 1) if n % divisor == 0]


def supported(q: Any, k: Any, v: Any, reach: int) -> bool:
    """Whether the kernel takes queries, keys and values of these shapes and dtypes.

    They must be bfloat16 or float32, which the matrix units multiply; the keys and values of a row
    of tokens must fit on the chip.
    """
    T, H, C = q.shape[1:]
    layout = _layout(H, k.shape[2], C, v.shape[3], q.dtype)
    row = layout.groups * (3 * layout.C + 2 * layout.Cv) * T * k.dtype.itemsize
    return q.dtype in (jnp.bfloat16, jnp.float32) and T % LANES == 0 and row <= _ROOM


def lanes_of(turn: Turn, q: Any, k: Any) -> tuple[jax.Array, jax.Array, int]:
    """The tables by which the kernel applies the rotary embedding `turn` to such queries and keys.

    Returns cos and sin, [B, T, N] each, and the distance in lanes between the two channels of a
    pair; see `Turn.lanes`.
    """
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
    """Computes attention as `mixers.dot_product_attention.attend` does; padding sees itself.

    Args:
      q_BTHC, k_BTGC, v_BTGC: queries, keys and values, of which `supported` is true.
      position_BT: the position of each token in its text.
      back_BT: the number of earlier tokens that each token sees.
      scale: a scalar, the factor on q·k.
      cos_BTN, sin_BTN, partner: see `lanes_of`; None, None and 0: the rotary embedding has been
        applied to queries and keys.
      slope_H, rounded: the slopes of `Alibi`, and whether their bias is rounded; None: no bias.
      sink_H: a score per head that takes part in the softmax and has no value; None: there is none.
      reach: an upper bound of `back_BT` + 1.
      softcap: scores become softcap * tanh(score / softcap); 0: they stay as they are.
      interpret: whether to interpret the kernel on any platform.

    Returns [B, T, H, Cv] in the dtype of the queries.
    """
    B, T, H, C = q_BTHC.shape
    G, Cv = v_BTGC.shape[2:]
    at = _layout(H, G, C, Cv, q_BTHC.dtype)
    Q = math.gcd(_QUERIES, T)
    S, whole = _keys(T, Q, reach)
    low_BT = jnp.arange(T, dtype=jnp.int32) - back_BT
    first_BX = jnp.min(low_BT.reshape(B, T // Q, Q), axis=-1) // TILE
    slope = jnp.zeros(H, jnp.float32) if slope_H is None else slope_H
    sink = jnp.zeros(H, jnp.float32) if sink_H is None else sink_H.astype(jnp.float32)
    per_head_2H = jnp.stack([slope, sink])
    step_q, step_k, step_v = at.groups * at.R * at.C, at.groups * at.C, at.groups * at.Cv
    step_o = at.groups * at.R * at.Cv
    heads = at.groups * at.R * at.shared
    steps = H // heads

    def block(lanes: int) -> pl.BlockSpec:
        """The block of queries, or of results, of a step."""
        return pl.BlockSpec((1, Q, lanes), lambda b, j, i, *_: (b, i, j))

    turning: list[pl.BlockSpec] = []
    tables: tuple[jax.Array, ...] = ()
    if cos_BTN is not None and sin_BTN is not None:
        tables = (cos_BTN, sin_BTN)
        turning = [pl.BlockSpec((1, T, at.C), lambda b, j, i, *_: (b, 0, 0))] * 2

    out_BTN = pl.pallas_call(
        partial(
            kernel, at=at, T=T, Q=Q, S=S, whole=whole, C=C, softcap=softcap,
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
                for N in (LANES, LANES, at.Cv)
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
    """The number of keys of a window, and whether it holds all that a block of queries sees."""
    most = min(TILE * pl.cdiv(Q + reach - 1, TILE), T)
    return (most, True) if most <= _MOST else (min(_KEYS, T), False)


def _in_lanes(x_BTHC: jax.Array, width: int, shared: int) -> jax.Array:
    """Joins heads to [B, T, lanes], each padded to `width` lanes unless heads share them."""
    B, T, _, C = x_BTHC.shape
    if shared == 1 and width != C:
        x_BTHC = jnp.pad(x_BTHC, [(0, 0), (0, 0), (0, 0), (0, width - C)])
    return x_BTHC.reshape(B, T, -1)


def _cost(B: int, T: int, Q: int, at: TileLayout, H: int, reach: int, dtype) -> pl.CostEstimate:
    """The cost for texts as long as the reach; lanes of padding and of other heads are counted."""
    S, whole = _keys(T, Q, reach)
    windows = sum(
        1 if whole else -(-(start + Q - max(0, start - reach + 1) // TILE * TILE) // S)
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
