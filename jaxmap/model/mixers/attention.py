"""Causal self-attention over rows that hold several texts one after another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.kernels.attention import by_kernel
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.layers.rope import Turn
from jaxmap.model.mechanisms import Alibi, Temperature
from jaxmap.model.spec import Kind, Spec
from jaxmap.model.sublayer import Sublayer

_WIDTHS = 8  # how many different numbers of keys the blocks of queries may have


def attend(
    q_BTHC: jax.Array,
    k_BTGC: jax.Array,
    v_BTGC: jax.Array,
    geometry: Geometry,
    facts: LayerFacts,
    *,
    turn: Turn | None = None,
    softcap: float = 0.0,
    alibi: Alibi | None = None,
    sink_H: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention of each token on itself and earlier tokens of its own text, [B, T, H, C].

    Computed by a kernel of the platform where one supports it, else by `attend_in_blocks`.

    Args:
      geometry: the positions of the tokens.
      facts: the scale and the window of the layer.
      turn: the rotation of queries and keys, which comes first; None: none.
      softcap: see `Spec`; 0: none.
      alibi: biases by the key's position; not to be combined with sinks.
      sink_H: a score per head that takes part in the softmax but has no value.
    """
    if geometry.platform and facts.chunk is None:  # no kernel has pieces
        mixed_BTHC = by_kernel(
            q_BTHC, k_BTGC, v_BTGC, geometry, facts,
            turn=turn, softcap=softcap, alibi=alibi, sink_H=sink_H,
        )  # fmt: skip
        if mixed_BTHC is not None:
            return mixed_BTHC
    if turn is not None:
        q_BTHC, k_BTGC = turn(q_BTHC), turn(k_BTGC)
    return attend_in_blocks(
        q_BTHC, k_BTGC, v_BTGC, geometry, facts, softcap=softcap, alibi=alibi, sink_H=sink_H
    )


def attend_in_blocks(
    q_BTHC: jax.Array,
    k_BTGC: jax.Array,
    v_BTGC: jax.Array,
    geometry: Geometry,
    facts: LayerFacts,
    *,
    softcap: float = 0.0,
    alibi: Alibi | None = None,
    sink_H: jax.Array | None = None,
) -> jax.Array:
    """`attend` in plain code, for every platform and shape; kernels must agree with it.

    The queries of `geometry.block` tokens are computed together, with the keys that they can see
    and few others: no text is longer than `geometry.reach`, so the keys of a block start at most
    reach - 1 tokens before it. A layer's window and pieces are part of the mask. Values may have a
    different number of channels from queries and keys. Scores are float32; the result has the dtype
    of the queries.
    """
    # ALiBi shifts all scores of a query by the same number, a sink's score it does not.
    assert alibi is None or sink_H is None, "a sink's score would need the same shift"
    B, T, H, C = q_BTHC.shape
    G = k_BTGC.shape[2]
    # Transposed to heads before tokens once; otherwise each block would copy its keys.
    q_BGRTC = q_BTHC.reshape(B, T, G, H // G, C).transpose(0, 2, 3, 1, 4)
    k_BGTC, v_BGTC = k_BTGC.transpose(0, 2, 1, 3), v_BTGC.transpose(0, 2, 1, 3)
    sink_GR1 = None if sink_H is None else sink_H.astype(jnp.float32).reshape(G, H // G, 1)

    def mixed(start: int | jax.Array, queries: int, keys: int) -> jax.Array:
        """The attention of `queries` queries from `start` on `keys` keys that end with theirs."""
        first = jnp.maximum(start + queries - keys, 0)
        own = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=queries)
        seen = partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=keys)
        score_BGRTS = contract(
            "bgrtc,bgsc->bgrts",
            own(q_BGRTC, axis=3),
            seen(k_BGTC, axis=2),
            out_dtype=jnp.float32,
        )
        score_BGRTS = score_BGRTS * facts.scale
        if softcap:
            score_BGRTS = softcap * jnp.tanh(score_BGRTS / softcap)
        if alibi is not None:
            bias_BHS = _alibi_bias(alibi, seen(geometry.position_BT, axis=1), facts)
            score_BGRTS = score_BGRTS + bias_BHS.reshape(B, G, H // G, 1, keys)
        t = start + jnp.arange(queries)[:, None]
        s = first + jnp.arange(keys)[None, :]
        near = (s <= t) & ((facts.window == 0) | (t - s < facts.window))
        segment_BT1 = own(geometry.segment_BT, axis=1)[:, :, None]
        mask_BTS = near & (segment_BT1 == seen(geometry.segment_BT, axis=1)[:, None, :])
        if facts.chunk is not None:
            piece_BT = geometry.position_BT // jnp.maximum(facts.chunk, 1)
            same_BTS = own(piece_BT, axis=1)[:, :, None] == seen(piece_BT, axis=1)[:, None, :]
            mask_BTS = mask_BTS & (same_BTS | (facts.chunk == 0))
        score_BGRTS = jnp.where(mask_BTS[:, None, None], score_BGRTS, -jnp.inf)
        # A token always sees itself, so the maximum is finite and the sum is at least one.
        top_BGRT = jnp.max(score_BGRTS, axis=-1)
        if sink_GR1 is not None:
            top_BGRT = jnp.maximum(top_BGRT, sink_GR1)
        weight_BGRTS = jnp.exp(score_BGRTS - top_BGRT[..., None])
        total_BGRT = jnp.sum(weight_BGRTS, axis=-1)
        if sink_GR1 is not None:
            total_BGRT = total_BGRT + jnp.exp(sink_GR1 - top_BGRT)
        mix_BGRTC = contract(
            "bgrts,bgsc->bgrtc",
            weight_BGRTS.astype(v_BTGC.dtype),
            seen(v_BGTC, axis=2),
            out_dtype=jnp.float32,
        )
        return mix_BGRTC / total_BGRT[..., None]

    out = []
    for start, count, queries, keys in _blocks(T, geometry.block, geometry.reach):
        if count == 1:
            out.append(mixed(start, queries, keys))
            continue
        starts = start + queries * jnp.arange(count)
        mix_XBGRTC = jax.lax.map(partial(mixed, queries=queries, keys=keys), starts)
        mix_BGRXTC = jnp.moveaxis(mix_XBGRTC, 0, 3)
        out.append(mix_BGRXTC.reshape(*mix_BGRXTC.shape[:3], count * queries, -1))
    out_BGRTC = jnp.concatenate(out, axis=3)
    return out_BGRTC.transpose(0, 3, 1, 2, 4).reshape(B, T, H, -1).astype(q_BTHC.dtype)


def _blocks(T: int, block: int, reach: int) -> Iterator[tuple[int, int, int, int]]:
    """Divides T queries into blocks: (first query, blocks, queries per block, keys per block).

    Neighbouring blocks with the same number of keys form one entry, which is one loop of the
    program. There are at most _WIDTHS numbers of keys, each at least a block, so that the program
    is small whatever T is.
    """
    step = max(block, -(-min(T, block + reach - 1) // _WIDTHS))
    widths = []
    for start in range(0, T, block):
        stop = min(start + block, T)
        keys = stop - max(0, start - reach + 1)
        widths.append((stop - start, min(-(-keys // step) * step, T)))
    start = 0
    for (queries, keys), group in itertools.groupby(widths):
        count = len(list(group))
        yield start, count, queries, keys
        start += count * queries


def _alibi_bias(alibi: Alibi, position_BS: jax.Array, facts: LayerFacts) -> jax.Array:
    """slope x key position, float32 [B, H, S].

    The softmax is the same whether positions are absolute or relative to the query.
    """
    slope_H = jnp.asarray(alibi.slopes, jnp.float32)
    position_BS = position_BS.astype(jnp.float32)
    if alibi.rounded:
        product = _to_bfloat16(slope_H)[:, None] * _to_bfloat16(position_BS)[:, None]
        return _to_bfloat16(product) * facts.scale
    return slope_H[:, None] * position_BS[:, None]


def _to_bfloat16(x: jax.Array) -> jax.Array:
    """Rounds float32 to the nearest bfloat16 number; XLA might remove a pair of conversions."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


class Attention(Sublayer):
    """x_BTD -> x_BTD, with grouped key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."""

    quantisable = True
    pads_heads = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, H, G, C = spec.D, spec.H, kind.G or spec.G, spec.C
        self.spec = spec
        make = dict(dtype=dtype, rngs=rngs)
        self.q = Linear("btd,dhc->bthc", (D, H, C), bias=(H, C) if spec.qkv_bias else None, **make)
        self.k = Linear("btd,dgc->btgc", (D, G, C), bias=(G, C) if spec.qkv_bias else None, **make)
        self.v = Linear("btd,dgc->btgc", (D, G, C), bias=(G, C) if spec.qkv_bias else None, **make)
        out_bias = (D,) if spec.out_bias or kind.out_bias else None
        self.o = Linear("bthc,hcd->btd", (H, C, D), bias=out_bias, **make)
        gate_bias = (H, C) if spec.qkv_bias else None
        self.gate = (
            Linear("btd,dhc->bthc", (D, H, C), bias=gate_bias, **make) if spec.out_gate else None
        )
        self.q_norm = _qk_norm(spec, H, "h", dtype)
        self.k_norm = _qk_norm(spec, G, "g", dtype)
        self.sink = parameter(jnp.zeros((H,), dtype), "h") if spec.sinks else None
        self.mixed_norm = (
            Norm(spec.norm, (H * C,), eps=spec.eps, bias=spec.norm_bias, dtype=dtype)
            if spec.mixed_norm
            else None
        )

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        spec = self.spec
        q, k, v = self.q(x_BTD, geometry), self.k(x_BTD, geometry), self.v(x_BTD, geometry)
        if spec.clip_qkv and not spec.clip_normed:
            q, k, v = (jnp.clip(z, -spec.clip_qkv, spec.clip_qkv) for z in (q, k, v))
        late = spec.qk_norm is not None and spec.qk_norm.after_rope
        if not late:
            q, k = self._normed(q, k, facts)
        if spec.clip_qkv and spec.clip_normed:
            q, k, v = (jnp.clip(z, -spec.clip_qkv, spec.clip_qkv) for z in (q, k, v))
        turn = turn_of(spec, geometry, facts)
        if late or spec.temperature is not None:  # what follows the rope
            if turn is not None:
                q, k, turn = turn(q), turn(k), None
            if late:
                q, k = self._normed(q, k, facts)
            if spec.temperature is not None:
                q = q * _warmth(spec.temperature, geometry, facts).astype(q.dtype)
        mixed_BTHC = attend(
            q, k, v, geometry, facts,
            turn=turn,
            softcap=spec.softcap,
            alibi=spec.alibi,
            sink_H=None if self.sink is None else self.sink[...],
        )  # fmt: skip
        if self.gate is not None:
            mixed_BTHC = mixed_BTHC * jax.nn.sigmoid(self.gate(x_BTD, geometry))
        if self.mixed_norm is not None:
            mixed_BTHC = _over_all(self.mixed_norm, mixed_BTHC)
        return self.o(mixed_BTHC, geometry)

    def _normed(
        self, q_BTHC: jax.Array, k_BTGC: jax.Array, facts: LayerFacts
    ) -> tuple[jax.Array, jax.Array]:
        """Queries and keys normalised as `Spec.qk_norm` says."""
        norm = self.spec.qk_norm
        if norm is None or self.q_norm is None or self.k_norm is None:
            return q_BTHC, k_BTGC
        apply = _over_all if norm.over == "all" else Norm.__call__
        q, k = apply(self.q_norm, q_BTHC), apply(self.k_norm, k_BTGC)
        if norm.turned_only and -1 in self.spec.rope_of:
            has_rope = facts.rope >= 0
            q, k = jnp.where(has_rope, q, q_BTHC), jnp.where(has_rope, k, k_BTGC)
        return q, k


def _warmth(of: Temperature, geometry: Geometry, facts: LayerFacts) -> jax.Array:
    """What queries are multiplied with, float32 [B, T, 1, 1]."""
    place_BT = geometry.position_BT.astype(jnp.float32) + of.offset
    warmth_BT = 1 + of.beta * jnp.log1p(jnp.floor(place_BT / of.span))
    if of.unturned_only:
        warmth_BT = jnp.where(facts.rope < 0, warmth_BT, 1)
    return warmth_BT[..., None, None]


def turn_of(spec: Spec, geometry: Geometry, facts: LayerFacts) -> Turn | None:
    """What turns queries and keys of a layer; None: nothing in this model."""
    if geometry.cos is None or geometry.sin is None:
        return None
    which = jnp.maximum(facts.rope, 0)
    cos, sin = (
        (table[0] if len(spec.ropes) == 1 else table[which])
        for table in (geometry.cos, geometry.sin)
    )
    on = facts.rope >= 0 if -1 in spec.rope_of else None
    return Turn(cos, sin, spec.ropes[0].pairs, on)


def turned(spec: Spec, x_BTHC: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
    """Queries or keys rotated by the layer's rope, if it has one."""
    turn = turn_of(spec, geometry, facts)
    return x_BTHC if turn is None else turn(x_BTHC)


def _qk_norm(spec: Spec, heads: int, letter: str, dtype) -> Norm | None:
    norm, C = spec.qk_norm, spec.C
    if norm is None:
        return None
    shape = {"head": (C,), "heads": (heads, C), "all": (heads * C,)}[norm.over]
    make = dict(eps=norm.eps, scale=norm.scale, bias=norm.bias, offset=norm.offset, dtype=dtype)
    return Norm(norm.norm, shape, letters=letter + "c" if norm.over == "heads" else "", **make)


def _over_all(norm: Norm, x_BTHC: jax.Array) -> jax.Array:
    """A norm of all heads together."""
    B, T, H, C = x_BTHC.shape
    return norm(x_BTHC.reshape(B, T, H * C)).reshape(B, T, H, C)
