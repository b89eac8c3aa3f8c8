"""Mixture of attention heads (Zhang et al. 2022, arXiv:2210.05144)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.mixers.attention import turn_of
from jaxmap.model.mixers.dot_product_attention import attend
from jaxmap.model.mlps.expert_blocks import in_blocks
from jaxmap.model.mlps.routing import route
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class RoutedAttention(Sublayer):
    """x_BTD -> x_BTD: a router chooses k experts for each token, which are heads of attention.

    An expert has the projection of G query heads, and the projection of their outputs; keys and
    values are projected once for all experts. The outputs are weighted and summed, and a bias is
    added. `Spec.experts` says how experts are chosen; Spec.H is k G. In array names, N is tokens,
    K the experts of a token, E experts and Z the channels of G heads.
    """

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.experts is not None
        self.spec = spec
        self.experts = e = spec.experts
        D, G, C = spec.D, spec.G, spec.C
        make = dict(dtype=dtype, rngs=rngs)
        self.router = Linear("nd,de->ne", (D, e.E), **make)
        self.queries = Linear("nd,dz->nz", (e.E, D, G * C), stack="e", **make)
        self.outputs = Linear("nz,zd->nd", (e.E, G * C, D), stack="e", **make)
        self.k, self.v = (Linear("btd,dgc->btgc", (D, G, C), **make) for _ in range(2))
        self.bias = parameter(jnp.zeros((D,), dtype), "d")

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        spec, e = self.spec, self.experts
        (B, T, D), G, C = x_BTD.shape, spec.G, spec.C

        def applied(linear: Linear, x_MI: jax.Array, index_MK: jax.Array) -> jax.Array:
            def run(expert: jax.Array, x_bI: jax.Array) -> jax.Array:
                return contract(linear.equation, x_bI, linear.one(expert))

            return in_blocks(run, x_MI, index_MK, e.E)

        x_ND = x_BTD.reshape(-1, D)
        kernel_DE = self.router.kernel[...].astype(jnp.float32)
        logit_NE = contract("nd,de->ne", x_ND.astype(jnp.float32), kernel_DE, exact=True)
        weight_NK, index_NK = route(logit_NE, e)
        # Query heads of different experts share a key head.
        q_BTKGC = applied(self.queries, x_ND, index_NK).reshape(B, T, e.k, G, C)
        q_BTHC = q_BTKGC.swapaxes(2, 3).reshape(B, T, G * e.k, C)
        k_BTGC, v_BTGC = self.k(x_BTD, geometry), self.v(x_BTD, geometry)
        turn = turn_of(spec, geometry, facts)
        mixed_BTHC = attend(q_BTHC, k_BTGC, v_BTGC, geometry, facts, turn=turn)
        mixed_BTKGC = mixed_BTHC.reshape(B, T, G, e.k, C).swapaxes(2, 3)
        # Each choice of a token is multiplied by the projection of its own expert.
        mixed_MZ = mixed_BTKGC.reshape(-1, G * C)
        y_NKD = applied(self.outputs, mixed_MZ, index_NK.reshape(-1, 1)).reshape(-1, e.k, D)
        y_ND = contract("nk,nkd->nd", weight_NK, y_NKD.astype(jnp.float32))
        y_ND = y_ND + self.bias[...].astype(jnp.float32)
        return y_ND.astype(x_BTD.dtype).reshape(B, T, D)
