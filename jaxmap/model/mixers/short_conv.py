"""A gated short convolution (Liquid AI 2025, LFM2, arXiv:2511.23404)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, parameter
from jaxmap.model.layers.recurrence import causal_conv
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class GatedShortConv(Sublayer):
    """x_BTD -> x_BTD: out(read x * conv(write x * value x)), a convolution of each channel alone.

    I is its channels, as many as D.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.short_conv is not None
        D, taps = spec.D, spec.short_conv.taps
        bias = (D,) if spec.short_conv.bias else None
        make = dict(dtype=dtype, rngs=rngs)
        self.write = Linear("btd,di->bti", (D, D), bias=bias, **make)
        self.read = Linear("btd,di->bti", (D, D), bias=bias, **make)
        self.value = Linear("btd,di->bti", (D, D), bias=bias, **make)
        self.conv = parameter(nnx.initializers.normal(0.3)(rngs.params(), (D, taps), dtype))
        self.conv_bias = parameter(jnp.zeros((D,), dtype)) if bias else None
        self.out = Linear("bti,id->btd", (D, D), bias=bias, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, *_: object) -> jax.Array:
        written_BTI = self.write(x_BTD, geometry) * self.value(x_BTD, geometry)
        bias_I = None if self.conv_bias is None else self.conv_bias[...]
        y_BTI = causal_conv(written_BTI, self.conv[...], bias_I, geometry.position_BT)
        return self.out(self.read(x_BTD, geometry) * y_BTI, geometry)
