"""A state space that reads the output of a shared block beside the residual stream (Zamba)."""

from __future__ import annotations

from typing import ClassVar

import jax
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mixers.selective_scan import SelectiveScanOfHeads
from jaxmap.model.mixers.ssd import StateSpaceDuality
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class _AfterShared(Sublayer):
    """x_BTD -> x_BTD: the mixer of norm(x + the projected output of the shared block for x).

    `Kind.shared` is the number of the layer among those with a shared block. The norm is the
    mixer's own, so such a layer has no norm slot before its mixer.
    """

    quantisable = True
    inner: ClassVar[type[Sublayer]]

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        make = dict(dtype=dtype, rngs=rngs)
        self.number = kind.shared
        self.linear = Linear("btd,dz->btz", (spec.D, spec.D), **make)
        self.mixer_in = Norm(spec.norm, (spec.D,), eps=spec.eps, dtype=dtype)
        self.mixer = self.inner(spec, kind, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        assert geometry.shared is not None
        shared_BTD = geometry.shared(self.number, x_BTD, geometry, facts)
        h_BTD = self.mixer_in(x_BTD + self.linear(shared_BTD, geometry))
        return self.mixer(h_BTD, geometry, facts)


class SharedThenSsd(_AfterShared):
    """With Mamba-2's mixer."""

    inner = StateSpaceDuality


class SharedThenScan(_AfterShared):
    """With Mamba's mixer, in heads."""

    inner = SelectiveScanOfHeads
