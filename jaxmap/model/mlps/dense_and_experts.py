"""A dense MLP and routed experts side by side, each between norms of its own (Gemma 4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mlps.dense import Mlp
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class DenseAndExperts(Sublayer):
    """x_BTD -> x_BTD: the sum of a dense MLP's output and of routed experts'.

    Both read the residual stream, each through a norm of its own, and each output has a norm too.
    The router reads the stream through a third norm, divided by the square root of D. Such a layer
    has no norm slot before its MLP.
    """

    quantisable = True
    pads_width = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        self.dense_in, self.dense_out, self.experts_in, self.experts_out, self.router_in = (
            Norm(spec.norm, (spec.D,), eps=spec.eps, dtype=dtype) for _ in range(5)
        )
        self.dense = Mlp(spec, kind, dtype=dtype, rngs=rngs)
        self.experts = RoutedExperts(spec, kind, dtype=dtype, rngs=rngs)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, *_: object) -> jax.Array:
        dense_BTD = self.dense_out(self.dense(self.dense_in(x_BTD), geometry))
        D = x_BTD.shape[-1]
        read_ND = self.router_in(x_BTD.astype(jnp.float32)).reshape(-1, D) * D**-0.5
        logit_NE = self.experts.router_logits(read_ND)
        experts_BTD = self.experts.routed(self.experts_in(x_BTD), logit_NE, geometry)
        return dense_BTD + self.experts_out(experts_BTD)
