"""Causal self-attention over rows in which several texts lie one after another."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.linear import Linear, contract
from jaxmap.model.rope import rotate
from jaxmap.model.spec import Spec


def attend(
    q_BTHC: jax.Array,
    k_BTGC: jax.Array,
    v_BTGC: jax.Array,
    segment_BT: jax.Array,
    facts: LayerFacts,
    *,
    reach: int,
    block: int,
) -> jax.Array:
    """Softmax attention of each token on itself and earlier tokens of its own text, [B, T, H, C].

    Queries are taken `block` at a time, each with the keys that it can see and few others: no
    text is longer than `reach`, so a block's keys start at most `reach` - 1 tokens before it. A
    layer's window (`facts.window` tokens, the query included; 0: no limit) is part of the mask.
    """
    B, T, H, C = q_BTHC.shape
    G = k_BTGC.shape[2]
    q_BTGRC = q_BTHC.reshape(B, T, G, H // G, C)
    out = []
    for start in range(0, T, block):
        stop = min(start + block, T)
        first = max(0, start - reach + 1)
        keys = slice(first, stop)
        score_BGRTS = contract(
            "btgrc,bsgc->bgrts", q_BTGRC[:, start:stop], k_BTGC[:, keys], out_dtype=jnp.float32
        )
        t = jnp.arange(start, stop)[:, None]
        s = jnp.arange(first, stop)[None, :]
        near = (s <= t) & ((facts.window == 0) | (t - s < facts.window))
        same = segment_BT[:, start:stop, None] == segment_BT[:, None, keys]
        mask_BTS = near & same
        score_BGRTS = jnp.where(mask_BTS[:, None, None], score_BGRTS * facts.scale, -jnp.inf)
        # A token always sees itself, so the maximum is finite and the sum is at least one.
        weight_BGRTS = jnp.exp(score_BGRTS - jnp.max(score_BGRTS, axis=-1, keepdims=True))
        total_BGRT = jnp.sum(weight_BGRTS, axis=-1)
        mix_BTGRC = contract(
            "bgrts,bsgc->btgrc",
            weight_BGRTS.astype(v_BTGC.dtype),
            v_BTGC[:, keys],
            out_dtype=jnp.float32,
        )
        out.append(mix_BTGRC / total_BGRT.transpose(0, 3, 1, 2)[..., None])
    return jnp.concatenate(out, axis=1).reshape(B, T, H, C).astype(q_BTHC.dtype)


class Attention(nnx.Module):
    """x_BTD -> x_BTD, with grouped key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."""

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        D, H, G, C = spec.D, spec.H, spec.G, spec.C
        make = dict(dtype=dtype, rngs=rngs)
        self.q = Linear("btd,dhc->bthc", (D, H, C), bias=(H, C) if spec.qkv_bias else None, **make)
        self.k = Linear("btd,dgc->btgc", (D, G, C), bias=(G, C) if spec.qkv_bias else None, **make)
        self.v = Linear("btd,dgc->btgc", (D, G, C), bias=(G, C) if spec.qkv_bias else None, **make)
        self.o = Linear("bthc,hcd->btd", (H, C, D), bias=(D,) if spec.out_bias else None, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        q, k, v = self.q(x_BTD), self.k(x_BTD), self.v(x_BTD)
        if geometry.cos is not None and geometry.sin is not None:
            q = rotate(q, geometry.cos, geometry.sin)
            k = rotate(k, geometry.cos, geometry.sin)
        return self.o(
            attend(q, k, v, geometry.segment_BT, facts, reach=geometry.reach, block=geometry.block)
        )
