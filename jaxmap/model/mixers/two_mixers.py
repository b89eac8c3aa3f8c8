"""Attention and a state space side by side (Falcon-H1, arXiv:2507.22448)."""

from __future__ import annotations

import jax
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.mixers.attention import Attention
from jaxmap.model.mixers.ssd import StateSpaceDuality
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class TwoMixers(Sublayer):
    """x_BTD -> x_BTD: the sum of the outputs of both mixers for the same input."""

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        self.multipliers = spec.multipliers
        self.attention = Attention(spec, kind, dtype=dtype, rngs=rngs)
        self.ssm = StateSpaceDuality(spec, kind, dtype=dtype, rngs=rngs)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        m = self.multipliers
        attn_BTD = self.attention(x_BTD * m.attn_in, geometry, facts) * m.attn_out
        return self.ssm(x_BTD * m.ssm_in, geometry, facts) * m.ssm_out + attn_BTD
