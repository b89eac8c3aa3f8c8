"""Attention on a GPU: a Pallas kernel, compiled by Triton, that keeps its scores on the chip.

Each program of the kernel takes a block of queries of one head. It visits the tiles of keys from
the first that its earliest query sees (where its text or the layer's window begins) to its own, and
keeps a running maximum for the softmax (Dao et al. 2022, arXiv:2205.14135).

Axes, besides those of `Spec`: Q queries of a block, S keys of a tile, N channels of a head after
padding.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

_QUERIES = 128  # in a block
_KEYS = 64  # in a tile
_LEAST = 16  # the fewest channels that the matrix units multiply
_MOST = 256  # the most channels that fit into a multiprocessor's registers
_LOG2E = math.log2(math.e)
_NOTHING = -1e30  # a score whose exponential is 0; infinities would make NaN


def _width(C: int) -> int:
    """The number of channels after padding, a power of two, as Triton requires."""
    return max(_LEAST, pl.next_power_of_2(C))


def supported(q: Any, k: Any, v: Any, reach: int) -> bool:
    """Whether the kernel takes queries, keys and values of these shapes and dtypes.

    They must have 16 bits, and a row of tokens must be whole blocks of queries.
    """
    T, C, Cv = q.shape[1], q.shape[3], v.shape[3]
    return (
        q.dtype in (jnp.bfloat16, jnp.float16) and T % _QUERIES == 0 and _width(max(C, Cv)) <= _MOST
    )


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
    reach: int,
    softcap: float,
    rounded: bool,
    interpret: bool,
) -> jax.Array:
    """Computes attention; see `attention_tpu.attend`.

    The rotary embedding must have been applied to queries and keys: `cos_BTN` and `sin_BTN` are
    None.
    """
    assert cos_BTN is None, "this kernel does not apply the rotary embedding"
    assert sin_BTN is None
    B, T, H, C = q_BTHC.shape
    G, Cv = v_BTGC.shape[2:]
    N, Nv, Q, S, R = _width(C), _width(Cv), _QUERIES, _KEYS, H // G
    low_BT = jnp.arange(T, dtype=jnp.int32) - back_BT
    first_BX = jnp.min(low_BT.reshape(B, T // Q, Q), axis=-1) // S
    none_H = jnp.zeros(H, jnp.float32)
    per_head_H = none_H if slope_H is None else slope_H.astype(jnp.float32)
    sinks_H = none_H if sink_H is None else sink_H.astype(jnp.float32)
    scores = B * H * Q * S * sum(
        (start + Q - 1) // S - max(0, start - reach + 1) // S + 1 for start in range(0, T, Q)
    )  # fmt: skip
    moved = B * T * q_BTHC.dtype.itemsize * (H + G) * (N + Nv)
    own = pl.BlockSpec((1,), lambda i, b, h: (h,))
    out_BTN = pl.pallas_call(
        partial(
            _kernel, softcap=softcap, rounded=None if slope_H is None else rounded,
            sinks=sink_H is not None,
        ),
        grid=(T // Q, B, H),
        in_specs=[
            pl.BlockSpec((None, 1), lambda i, b, h: (b, i)),
            pl.BlockSpec((1,), lambda i, b, h: (0,)),
            own,
            own,
            pl.BlockSpec((None, Q), lambda i, b, h: (b, i)),
            pl.BlockSpec((None, T), lambda i, b, h: (b, 0)),
            pl.BlockSpec((None, Q, N), lambda i, b, h: (b, i, h)),
            pl.BlockSpec((None, T, N), lambda i, b, h: (b, 0, jax.lax.div(h, R))),
            pl.BlockSpec((None, T, Nv), lambda i, b, h: (b, 0, jax.lax.div(h, R))),
        ],
        out_specs=pl.BlockSpec((None, Q, Nv), lambda i, b, h: (b, i, h)),
        out_shape=jax.ShapeDtypeStruct((B, T, H * Nv), q_BTHC.dtype),
        compiler_params=plgpu.CompilerParams(num_warps=4 if N <= 64 else 8, num_stages=2),
        metadata={
            "flops": str(2 * scores * (N + Nv)),
            "transcendentals": str(scores),
            "bytes_accessed": str(moved),
        },
        interpret=interpret,
        name="attention",
    )(
        first_BX,
        scale.reshape(1),
        per_head_H,
        sinks_H,
        back_BT,
        position_BT,
        _join_heads(q_BTHC, N),
        _join_heads(k_BTGC, N),
        _join_heads(v_BTGC, Nv),
    )  # fmt: skip
    return out_BTN.reshape(B, T, H, Nv)[..., :Cv]


def _join_heads(x_BTHC: jax.Array, width: int) -> jax.Array:
    """Pads each head with zeros to `width` channels and joins the heads: [B, T, H * width]."""
    B, T, _, C = x_BTHC.shape
    if width != C:
        x_BTHC = jnp.pad(x_BTHC, [(0, 0), (0, 0), (0, 0), (0, width - C)])
    return x_BTHC.reshape(B, T, -1)


def _rounded(x: jax.Array) -> jax.Array:
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def _kernel(
    first_ref,
    scale_ref,
    slope_ref,
    sink_ref,
    back_ref,
    position_ref,
    q_ref,
    k_ref,
    v_ref,
    out_ref,
    *,
    softcap: float,
    rounded: bool | None,
    sinks: bool,
):
    """One program: the attention of a block of Q queries of a head.

    Args:
      first_ref: the first tile of keys that the block sees.
      scale_ref, slope_ref, sink_ref: the factor on q·k, the head's slope and its sink.
      back_ref, position_ref: see `attention_tpu.attend`, [Q] and [T].
      q_ref, k_ref, v_ref, out_ref: queries [Q, N], keys and values of the row [T, N], the result.
      softcap: see `attention_tpu.attend`.
      rounded: None: there are no slopes; else see `attention_tpu.attend`.
      sinks: whether there are sinks.
    """
    Q, Nv, S = q_ref.shape[0], v_ref.shape[1], _KEYS
    i, scale = pl.program_id(0), scale_ref[0]
    q_QN, back_Q = q_ref[...], back_ref[...]
    t_Q = i * Q + jnp.arange(Q)

    def tile(n, carry):
        mix_QN, top_Q, total_Q = carry
        rows = pl.ds(n * S, S)
        score_QS = plgpu.dot(q_QN, k_ref[rows, :].T)
        if softcap:
            # tanh in exponentials: Triton has none of its own.
            double_QS = jnp.exp2(score_QS * (-2 * _LOG2E * scale / softcap))
            score_QS = (softcap * _LOG2E) * (2 / (1 + double_QS) - 1)
        else:
            score_QS = score_QS * (scale * _LOG2E)
        if rounded is not None:
            place_S = position_ref[rows].astype(jnp.float32)
            if rounded:
                slope_S = _rounded(jnp.broadcast_to(slope_ref[0], (S,)))
                bias_S = _rounded(slope_S * _rounded(place_S)) * scale
            else:
                bias_S = slope_ref[0] * place_S
            score_QS = score_QS + (bias_S * _LOG2E)[None, :]
        behind_QS = t_Q[:, None] - (n * S + jnp.arange(S))[None, :]
        seen_QS = (behind_QS >= 0) & (behind_QS <= back_Q[:, None])
        score_QS = jnp.where(seen_QS, score_QS, _NOTHING)
        new_Q = jnp.maximum(top_Q, jnp.max(score_QS, axis=1))
        weight_QS = jnp.exp2(score_QS - new_Q[:, None])
        shrunk_Q = jnp.exp2(top_Q - new_Q)
        total_Q = total_Q * shrunk_Q + jnp.sum(weight_QS, axis=1)
        v_SN = v_ref[rows, :]
        mix_QN = mix_QN * shrunk_Q[:, None] + plgpu.dot(weight_QS.astype(v_SN.dtype), v_SN)
        return mix_QN, new_Q, total_Q

    top = sink_ref[0] * _LOG2E if sinks else _NOTHING
    start = (
        jnp.zeros((Q, Nv), jnp.float32),
        jnp.zeros(Q, jnp.float32) + top,
        jnp.full(Q, float(sinks), jnp.float32),
    )
    stop = jax.lax.div((i + 1) * Q - 1, S) + 1
    mix_QN, _, total_Q = jax.lax.fori_loop(first_ref[0], stop, tile, start)
    out_ref[...] = (mix_QN / total_Q[:, None]).astype(out_ref.dtype)
