"""Differential attention: the difference of two softmaxes (Ye et al. 2024, arXiv:2410.05258)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mixers.attention import turn_of
from jaxmap.model.mixers.dot_product_attention import attend
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_FACTORS = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")  # a to d


class DifferentialAttention(Sublayer):
    """x_BTD -> x_BTD: of each pair of query heads, the first's output minus the second's.

    Query heads i and i + H/2 are a pair, and key/value heads j and j + G/2. Each key head of a pair
    has the values of both, one after the other: X = 2 C channels. The second output is multiplied
    by a learnt number, exp(a · b) - exp(c · d) + i, where a to d are vectors and i is
    `LayerFacts.subtracted`; the difference is normalised without a scale and multiplied by 1 - i.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, H, G, C = spec.D, spec.H, spec.G, spec.C
        self.spec = spec
        make = dict(dtype=dtype, rngs=rngs)
        self.q = Linear("btd,dhc->bthc", (D, H, C), bias=(H, C) if spec.qkv_bias else None, **make)
        self.k = Linear("btd,dgc->btgc", (D, G, C), bias=(G, C) if spec.qkv_bias else None, **make)
        self.v = Linear("btd,dgc->btgc", (D, G, C), bias=(G, C) if spec.qkv_bias else None, **make)
        self.o = Linear("bthc,hcd->btd", (H, C, D), bias=(D,) if spec.out_bias else None, **make)
        for name in _FACTORS:
            setattr(self, name, parameter(jnp.zeros((C,), dtype)))
        self.norm = Norm("rms", (2 * C,), eps=spec.eps, scale=False, dtype=dtype)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        assert facts.subtracted is not None
        q, k, v_BTGC = (linear(x_BTD, geometry) for linear in (self.q, self.k, self.v))
        B, T, _, C = v_BTGC.shape
        pairs_BTgX = jnp.concatenate(jnp.split(v_BTGC, 2, axis=2), axis=-1)
        v_BTGX = jnp.concatenate([pairs_BTgX] * 2, axis=2)
        turn = turn_of(self.spec, geometry, facts)
        mixed_BTHX = attend(q, k, v_BTGX, geometry, facts, turn=turn)
        first, second = jnp.split(mixed_BTHX, 2, axis=2)
        a_C, b_C, c_C, d_C = (getattr(self, name)[...].astype(jnp.float32) for name in _FACTORS)
        learnt = jnp.exp(a_C @ b_C) - jnp.exp(c_C @ d_C) + facts.subtracted
        difference = self.norm(first - learnt.astype(first.dtype) * second)
        difference = difference * (1 - facts.subtracted).astype(first.dtype)
        return self.o(difference.reshape(B, T, -1, C), geometry)
