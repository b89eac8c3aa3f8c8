"""Softmax attention of queries on keys and values, over rows that hold several texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from jaxmap.model.attention_facts import Alibi
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.kernels.attention import by_kernel
from jaxmap.model.layers.linear import contract
from jaxmap.model.layers.rope import Turn

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
    bias_BTG: jax.Array | None = None,
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
      bias_BTG: float32, added to the scores of each key of a key/value head.
    """
    # No kernel has pieces or biases of keys.
    if geometry.platform and facts.chunk is None and bias_BTG is None:
        mixed_BTHC = by_kernel(
            q_BTHC, k_BTGC, v_BTGC, geometry, facts,
            turn=turn, softcap=softcap, alibi=alibi, sink_H=sink_H,
        )  # fmt: skip
        if mixed_BTHC is not None:
            return mixed_BTHC
    if turn is not None:
        q_BTHC, k_BTGC = turn(q_BTHC), turn(k_BTGC)
    return attend_in_blocks(
        q_BTHC, k_BTGC, v_BTGC, geometry, facts,
        softcap=softcap, alibi=alibi, sink_H=sink_H, bias_BTG=bias_BTG,
    )  # fmt: skip


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
    bias_BTG: jax.Array | None = None,
) -> jax.Array:
    """`attend` in plain code, for every platform and shape; kernels must agree with it.

    The queries of `geometry.block` tokens are computed together, with the keys that they can see
    and few others: no text is longer than `geometry.reach`, so the keys of a block start at most
    reach - 1 tokens before it. With `geometry.adaptive` a block reads only as far back as the text
    of its first query goes. A layer's window and pieces are part of the mask. Values may have a
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
        if bias_BTG is not None:
            bias_BGS = seen(bias_BTG, axis=1).swapaxes(1, 2)
            score_BGRTS = score_BGRTS + bias_BGS[:, :, None, None]
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
    entries = _blocks(T, geometry.block, geometry.reach, geometry.adaptive)
    for start, count, queries, widths in entries:
        if count == 1:
            out.append(mixed(start, queries, widths[-1]))
            continue
        starts_X = start + queries * jnp.arange(count)
        # The keys before each block that its first query sees; a later query sees no earlier ones.
        before_X = jnp.max(geometry.position_BT[:, starts_X], axis=0)
        before_X = jnp.where(facts.window == 0, before_X, jnp.minimum(before_X, facts.window - 1))
        width_X = jnp.searchsorted(jnp.asarray(widths[:-1], jnp.int32), before_X + queries)
        mix_XBGRTC = jax.lax.map(
            partial(_of_width, [partial(mixed, queries=queries, keys=keys) for keys in widths]),
            (starts_X, width_X),
        )
        mix_BGRXTC = jnp.moveaxis(mix_XBGRTC, 0, 3)
        out.append(mix_BGRXTC.reshape(*mix_BGRXTC.shape[:3], count * queries, -1))
    out_BGRTC = jnp.concatenate(out, axis=3)
    return out_BGRTC.transpose(0, 3, 1, 2, 4).reshape(B, T, H, -1).astype(q_BTHC.dtype)


def _of_width(
    by_width: Sequence[Callable[[jax.Array], jax.Array]], block: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """Calls the function that the block's second number names with its first, the first query."""
    start, width = block
    return jax.lax.switch(width, by_width, start)


def _blocks(
    T: int, block: int, reach: int, adaptive: bool
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Divides T queries into blocks: (first query, blocks, queries per block, numbers of keys).

    An entry is neighbouring blocks, which are one loop of the program. Where it has several numbers
    of keys, in ascending order, each block takes the smallest that holds the keys that it sees.
    There are at most _WIDTHS of them, each at least a block, so that the program is small whatever
    T is; the queries that remain after the last whole block may add one.

    Args:
      adaptive: whether a block chooses while the program runs, by the texts at hand. Otherwise its
        number of keys follows from `reach`.
    """
    step = max(block, -(-min(T, block + reach - 1) // _WIDTHS))
    widths = []
    for start in range(0, T, block):
        stop = min(start + block, T)
        keys = stop - max(0, start - reach + 1)
        widths.append((stop - start, min(-(-keys // step) * step, T)))
    if adaptive and (whole := T // block) > 1:
        yield 0, whole, block, tuple(sorted({keys for _, keys in widths[:whole]}))
        widths, start = widths[whole:], whole * block
    else:
        start = 0
    for (queries, keys), group in itertools.groupby(widths):
        count = len(list(group))
        yield start, count, queries, (keys,)
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
