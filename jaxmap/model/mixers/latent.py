"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mixers.attention import turned, warmth
from jaxmap.model.mixers.dot_product_attention import attend
from jaxmap.model.mixers.output_gate import gate_bias, gate_of, gated
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class LatentAttention(Sublayer):
    """x_BTD -> x_BTD, with low-rank projections of queries and of keys and values together.

    Only some channels of a head are rotated. Those of the keys are projected from the input
    directly and shared by all heads. In array names, Z is the rank of a projection.
    """

    quantisable = True
    pads_heads = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.latent is not None
        self.spec = spec
        self.latent = latent = spec.latent
        D, H = spec.D, spec.H
        make = dict(dtype=dtype, rngs=rngs)

        def compress(width: int) -> Linear:
            return Linear(
                "btd,dz->btz", (D, width), bias=(width,) if spec.qkv_bias else None, **make
            )

        def rms(width: int) -> Norm:
            return Norm("rms", (width,), eps=latent.eps, dtype=dtype)

        self.q_down = compress(latent.q_rank) if latent.q_rank else None
        self.q_norm = rms(latent.q_rank) if latent.q_rank else None
        q_from = (1 + latent.q_raw) * latent.q_rank or D
        self.q = Linear("btz,zhc->bthc", (q_from, H, spec.C), **make)
        self.kv_down = compress(latent.kv_rank + latent.rope)
        self.kv_norm = rms(latent.kv_rank)
        self.kv = Linear("btz,zhc->bthc", (latent.kv_rank, H, latent.nope + latent.v), **make)
        self.o = Linear(
            "bthc,hcd->btd", (H, latent.v, D), bias=(D,) if spec.out_bias else None, **make
        )
        gate_from = q_from if spec.out_gate and spec.out_gate.of_queries else D
        self.gate = gate_of(spec.out_gate, gate_from, H, latent.v, **make)
        self.gate_bias = gate_bias(spec.out_gate, H, dtype)
        has_sinks = spec.sinks and kind.sinks
        self.sink = parameter(jnp.zeros((H,), dtype), "h") if has_sinks else None

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        spec, latent, nope = self.spec, self.latent, self.latent.nope
        queries_BTZ = x_BTD
        if self.q_down is not None and self.q_norm is not None:
            raw_BTZ = self.q_down(x_BTD, geometry)
            queries_BTZ = self.q_norm(raw_BTZ)
            if latent.q_raw:
                queries_BTZ = jnp.concatenate([queries_BTZ, raw_BTZ], axis=-1)
        q_BTHC = self.q(queries_BTZ, geometry)
        if latent.q_gain != 1:
            q_BTHC = q_BTHC * latent.q_gain
        turned_q_BTHC = turned(spec, q_BTHC[..., nope:], geometry, facts)
        q_BTHC = jnp.concatenate([q_BTHC[..., :nope], turned_q_BTHC], axis=-1)
        if spec.temperature is not None:
            q_BTHC = q_BTHC * warmth(spec.temperature, geometry, facts).astype(q_BTHC.dtype)

        narrow_BTZ = self.kv_down(x_BTD, geometry)
        kv_BTZ = self.kv_norm(narrow_BTZ[..., : latent.kv_rank])
        kv_BTHC = self.kv(kv_BTZ if latent.kv_gain == 1 else kv_BTZ * latent.kv_gain, geometry)
        shared_BT1C = turned(spec, narrow_BTZ[..., None, latent.kv_rank :], geometry, facts)
        shared_BTHC = jnp.broadcast_to(shared_BT1C, (*kv_BTHC.shape[:3], latent.rope))
        k_BTHC = jnp.concatenate([kv_BTHC[..., :nope], shared_BTHC], axis=-1)
        mixed_BTHC = attend(
            *(q_BTHC, k_BTHC, kv_BTHC[..., nope:], geometry, facts),
            sink_H=None if self.sink is None else self.sink[...],
        )
        if self.gate is not None and spec.out_gate is not None:
            z = self.gate(queries_BTZ if spec.out_gate.of_queries else x_BTD, geometry)
            mixed_BTHC = gated(mixed_BTHC, z, spec.out_gate, self.gate_bias)
        return self.o(mixed_BTHC, geometry)
