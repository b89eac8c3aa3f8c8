"""A block of attention and an MLP whose weights several layers share (Zamba, arXiv:2405.16712)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layers.linear import Linear
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mixers.attention import turn_of
from jaxmap.model.mixers.dot_product_attention import attend
from jaxmap.model.mlps.dense import activation
from jaxmap.model.spec import Spec

_PARTS = ("q", "k", "v", "gate", "up")  # the projections that adapters change


class Adapters(nnx.Module):
    """What one layer adds to the projections of a shared block: products of low rank.

    In array names, Z is 2 D, the width of the attention's input, and r the rank. Gate and up
    projection share their first product.
    """

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        assert spec.shared is not None
        r, heads, make = spec.shared.rank, (spec.H, spec.C), dict(dtype=dtype, rngs=rngs)
        attentive = spec.shared.attention_adapters
        for part in "qkv":
            down = Linear("btz,zr->btr", (2 * spec.D, r), **make) if attentive else None
            up = Linear("btr,rhc->bthc", (r, *heads), **make) if attentive else None
            setattr(self, f"{part}_down", down)
            setattr(self, f"{part}_up", up)
        self.mlp_down = Linear("btd,dr->btr", (spec.D, r), **make)
        self.gate_up, self.up_up = (Linear("btr,rf->btf", (r, spec.F), **make) for _ in range(2))

    def __call__(self, part: str, x: jax.Array, geometry: Geometry) -> jax.Array | None:
        """What is added to projection `part` of x."""
        down = self.mlp_down if part in ("gate", "up") else getattr(self, f"{part}_down")
        if down is None:
            return None
        return getattr(self, f"{part}_up")(down(x, geometry), geometry)


class SharedBlock(nnx.Module):
    """(x_BTD, embedded_BTD) -> x_BTD: attention on both side by side, then an MLP; no residuals.

    Each of the two reads the norm of its input, [B, T, 2 D] and [B, T, D].
    """

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        D, H, G, C, F = spec.D, spec.H, spec.G, spec.C, spec.F
        self.spec = spec
        make = dict(dtype=dtype, rngs=rngs)
        self.attn_in = Norm("rms", (2 * D,), eps=spec.eps, dtype=dtype)
        self.mlp_in = Norm("rms", (D,), eps=spec.eps, dtype=dtype)
        self.q = Linear("btz,zhc->bthc", (2 * D, H, C), **make)
        self.k, self.v = (Linear("btz,zgc->btgc", (2 * D, G, C), **make) for _ in range(2))
        self.o = Linear("bthc,hcd->btd", (H, C, D), **make)
        inner = dict(bias=(F,) if spec.mlp_bias else None, **make)
        self.gate, self.up = (Linear("btd,df->btf", (D, F), **inner) for _ in range(2))
        self.down = Linear("btf,fd->btd", (F, D), bias=(D,) if spec.mlp_bias else None, **make)

    def __call__(
        self,
        x_BTD: jax.Array,
        embedded_BTD: jax.Array,
        adapters: Adapters | None,
        geometry: Geometry,
        facts: LayerFacts,
    ) -> jax.Array:
        def projected(part: str, x: jax.Array) -> jax.Array:
            y = getattr(self, part)(x, geometry)
            added = None if adapters is None else adapters(part, x, geometry)
            return y if added is None else y + added.reshape(y.shape)

        x_BTZ = self.attn_in(jnp.concatenate([x_BTD, embedded_BTD], axis=-1))
        q, k, v = (projected(part, x_BTZ) for part in "qkv")
        turn = turn_of(self.spec, geometry, facts)
        x_BTD = self.o(attend(q, k, v, geometry, facts, turn=turn), geometry)
        x_BTD = self.mlp_in(x_BTD)
        gate_BTF = activation(self.spec.act, geometry, x_BTD.dtype)(projected("gate", x_BTD))
        return self.down(gate_BTF * projected("up", x_BTD), geometry)
