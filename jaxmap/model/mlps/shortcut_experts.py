"""Experts on a shortcut around a dense MLP, attention and a second dense MLP (LongCat-Flash)."""

from __future__ import annotations

import jax
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mixers.latent import LatentAttention
from jaxmap.model.mlps.dense import Mlp
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class ShortcutExperts(Sublayer):
    """x_BTD -> x_BTD: all that a layer adds to the residual stream x after its first attention.

    A dense MLP, latent attention and a second dense MLP follow one another, each with a norm before
    it and its output added to the stream. Routed experts read the first MLP's input, and their
    output is added after the second MLP, so that devices could compute them meanwhile (Cai et al.
    2024, arXiv:2404.05019). The first norm is its own, so such a layer has no norm slot before its
    MLP. Facts of the layer, such as the scale of scores, are those of both attentions.
    """

    quantisable = True
    pads_width = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        make = dict(dtype=dtype, rngs=rngs)
        self.first_in, self.attn_in, self.second_in = (
            Norm(spec.norm, (spec.D,), eps=spec.eps, dtype=dtype) for _ in range(3)
        )
        self.experts = RoutedExperts(spec, kind, **make)
        self.first = Mlp(spec, kind, **make)
        self.attn = LatentAttention(spec, kind, **make)
        self.second = Mlp(spec, kind, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        h_BTD = self.first_in(x_BTD)
        experts_BTD = self.experts(h_BTD, geometry)
        added_BTD = self.first(h_BTD, geometry)
        added_BTD = added_BTD + self.attn(self.attn_in(x_BTD + added_BTD), geometry, facts)
        added_BTD = added_BTD + self.second(self.second_in(x_BTD + added_BTD), geometry)
        return added_BTD + experts_BTD
