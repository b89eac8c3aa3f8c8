"""Causal self-attention over rows that hold several texts one after another."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.attention_facts import Temperature
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, added, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.layers.rope import Turn
from jaxmap.model.mixers.dot_product_attention import attend
from jaxmap.model.mixers.output_gate import gate_bias, gate_of, gated
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class ValueBias(nnx.Module):
    """v_BTGC -> float32 [B, T, G]: exp(rate softplus(z)), where z is a projection of all values.

    The biases of Doge (arXiv:2508.02124), which are added to the scores of each key.
    """

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        G, C = spec.G, spec.C
        bias = (G,) if spec.qkv_bias else None
        self.step = Linear("btgc,gcz->btz", (G, C, G), bias=bias, dtype=dtype, rngs=rngs)
        self.rate = parameter(jnp.zeros((G,), dtype))

    def __call__(self, v_BTGC: jax.Array, geometry: Geometry) -> jax.Array:
        step_BTG = jax.nn.softplus(self.step(v_BTGC, geometry).astype(jnp.float32))
        return jnp.exp(self.rate[...].astype(jnp.float32) * step_BTG)


class Attention(Sublayer):
    """x_BTD -> x_BTD, with grouped key/value heads (Ainslie et al. 2023, arXiv:2305.13245).

    The letter C in the arrays of values stands for `Spec.value_C` where it is given.
    """

    quantisable = True
    pads_heads = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, H, G, C = spec.D, kind.H or spec.H, kind.G or spec.G, kind.C or spec.C
        value_C = spec.value_C or C
        assert value_C == C or not (spec.value_bias or spec.mixed_norm)
        self.spec, self.turned = spec, kind.turned or C
        make = dict(dtype=dtype, rngs=rngs)
        self.q = Linear("btd,dhc->bthc", (D, H, C), bias=(H, C) if spec.qkv_bias else None, **make)
        of_keys = dict(bias=(G, C) if spec.qkv_bias else None, **make)
        of_values = dict(bias=(G, value_C) if spec.qkv_bias else None, **make)
        own = not kind.reads
        self.k = Linear("btd,dgc->btgc", (D, G, C), **of_keys) if own else None
        own_values = own and not kind.tied_values
        self.v = Linear("btd,dgc->btgc", (D, G, value_C), **of_values) if own_values else None
        out_bias = (D,) if spec.out_bias or kind.out_bias else None
        self.o = Linear("bthc,hcd->btd", (H, value_C, D), bias=out_bias, **make)
        self.gate = gate_of(spec.out_gate, D, H, value_C, **make)
        self.gate_bias = gate_bias(spec.out_gate, H, dtype)
        self.q_norm = _qk_norm(spec, H, C, "h", dtype)
        self.k_norm = _qk_norm(spec, G, C, "g", dtype) if own else None
        self.v_norm = (
            Norm("rms", (value_C,), eps=spec.eps, scale=False, dtype=dtype)
            if own and spec.v_norm
            else None
        )
        has_sinks = spec.sinks and kind.sinks
        self.sink = parameter(jnp.zeros((H,), dtype), "h") if has_sinks else None
        self.value_bias = ValueBias(spec, **make) if spec.value_bias else None
        self.mixed_norm = (
            Norm(spec.norm, (H * C,), eps=spec.eps, bias=spec.norm_bias, dtype=dtype)
            if spec.mixed_norm
            else None
        )

    def __call__(
        self,
        x_BTD: jax.Array,
        geometry: Geometry,
        facts: LayerFacts,
        *,
        stream_BTD: jax.Array | None = None,
    ) -> jax.Array:
        """The layer's output, added to `stream_BTD` where it is given."""
        keys_values = self.keys_values(x_BTD, geometry, facts)
        return self.attended(x_BTD, keys_values, geometry, facts, stream_BTD)

    def keys_values(
        self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts
    ) -> tuple[jax.Array, jax.Array]:
        """Keys, before they are rotated, and values, [B, T, G, C] each."""
        assert self.k is not None, "a layer without keys of its own"
        projected = self.k(x_BTD, geometry)
        k = self._prepared(projected, self.k_norm, facts)
        v = self._clipped(projected if self.v is None else self.v(x_BTD, geometry))
        if self.spec.value_scale != 1:
            v = v * jnp.asarray(self.spec.value_scale, v.dtype)
        return k, v if self.v_norm is None else self.v_norm(v)

    def attended(
        self,
        x_BTD: jax.Array,
        keys_values: tuple[jax.Array, jax.Array],
        geometry: Geometry,
        facts: LayerFacts,
        stream_BTD: jax.Array | None = None,
    ) -> jax.Array:
        """`__call__` with given keys and values (see `keys_values`)."""
        spec = self.spec
        q, (k, v) = self._prepared(self.q(x_BTD, geometry), self.q_norm, facts), keys_values
        turn = turn_of(spec, geometry, facts, self.turned)
        if self.late or spec.temperature is not None:  # what follows the rope
            if turn is not None:
                q, k, turn = turn(q), turn(k), None
            if self.late:
                q, k = self._normed(q, self.q_norm, facts), self._normed(k, self.k_norm, facts)
            if spec.temperature is not None:
                q = q * warmth(spec.temperature, geometry, facts).astype(q.dtype)
        mixed_BTHC = attend(
            q, k, v, geometry, facts,
            turn=turn,
            softcap=spec.softcap,
            alibi=spec.alibi,
            sink_H=None if self.sink is None else self.sink[...],
            bias_BTG=None if self.value_bias is None else self.value_bias(v, geometry),
        )  # fmt: skip
        if self.gate is not None and spec.out_gate is not None:
            z = self.gate(x_BTD, geometry)
            mixed_BTHC = gated(mixed_BTHC, z, spec.out_gate, self.gate_bias)
        if self.mixed_norm is not None:
            mixed_BTHC = _over_all(self.mixed_norm, mixed_BTHC)
        if stream_BTD is not None:
            return added(stream_BTD, self.o, mixed_BTHC, geometry)
        return self.o(mixed_BTHC, geometry)

    @property
    def late(self) -> bool:
        """Whether queries and keys are normalised after they are rotated."""
        return self.spec.qk_norm is not None and self.spec.qk_norm.after_rope

    def _clipped(self, z: jax.Array) -> jax.Array:
        bound = self.spec.clip_qkv
        return jnp.clip(z, -bound, bound) if bound else z

    def _prepared(self, z: jax.Array, norm: Norm | None, facts: LayerFacts) -> jax.Array:
        """Projected queries or keys as they are before the rotation: clipped and normalised."""
        if not self.spec.clip_normed:
            z = self._clipped(z)
        if not self.late:
            z = self._normed(z, norm, facts)
        return self._clipped(z) if self.spec.clip_normed else z

    def _normed(self, z: jax.Array, norm: Norm | None, facts: LayerFacts) -> jax.Array:
        """Queries or keys normalised as `Spec.qk_norm` says."""
        facts_of = self.spec.qk_norm
        if facts_of is None or norm is None:
            return z
        normed = _over_all(norm, z) if facts_of.over == "all" else norm(z)
        if facts_of.turned_only and -1 in self.spec.rope_of:
            return jnp.where(facts.rope >= 0, normed, z)
        return normed


def warmth(of: Temperature, geometry: Geometry, facts: LayerFacts) -> jax.Array:
    """What queries are multiplied with, float32 [B, T, 1, 1]."""
    place_BT = geometry.position_BT.astype(jnp.float32) + of.offset
    if of.power:
        warmth_BT = jnp.exp(of.beta * jnp.log1p(place_BT / of.span))
    else:
        warmth_BT = 1 + of.beta * jnp.log1p(jnp.floor(place_BT / of.span))
    if of.unturned_only:
        warmth_BT = jnp.where(facts.rope < 0, warmth_BT, 1)
    return warmth_BT[..., None, None]


def turn_of(spec: Spec, geometry: Geometry, facts: LayerFacts, C: int = 0) -> Turn | None:
    """What turns queries and keys of a layer; None: nothing in this model.

    With ropes that turn different numbers of channels, those of this layer turn the first C of a
    head; 0: the Spec's C.
    """
    if geometry.cos is None or geometry.sin is None:
        return None
    which = jnp.maximum(facts.rope, 0)
    cos, sin = (
        (table[0] if len(spec.ropes) == 1 else table[which])[..., : (C or spec.C) // 2]
        for table in (geometry.cos, geometry.sin)
    )
    on = facts.rope >= 0 if -1 in spec.rope_of else None
    return Turn(cos, sin, spec.ropes[0].pairs, on)


def turned(spec: Spec, x_BTHC: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
    """Queries or keys rotated by the layer's rope, if it has one."""
    turn = turn_of(spec, geometry, facts)
    return x_BTHC if turn is None else turn(x_BTHC)


def _qk_norm(spec: Spec, heads: int, C: int, letter: str, dtype) -> Norm | None:
    norm = spec.qk_norm
    if norm is None:
        return None
    shape = {"head": (C,), "heads": (heads, C), "all": (heads * C,)}[norm.over]
    make = dict(eps=norm.eps, scale=norm.scale, bias=norm.bias, offset=norm.offset, dtype=dtype)
    return Norm(norm.norm, shape, letters=letter + "c" if norm.over == "heads" else "", **make)


def _over_all(norm: Norm, x_BTHC: jax.Array) -> jax.Array:
    """A norm of all heads together."""
    B, T, H, C = x_BTHC.shape
    return norm(x_BTHC.reshape(B, T, H * C)).reshape(B, T, H, C)
