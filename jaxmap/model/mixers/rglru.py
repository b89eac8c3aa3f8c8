"""Griffin's recurrent block: a gated linear recurrence (De et al. 2024, arXiv:2402.19427)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.layers.recurrence import causal_conv, linear_scan
from jaxmap.model.mlps.dense import ACTIVATIONS
from jaxmap.model.recurrent_facts import Rglru
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_SHARPNESS = 8.0  # c of equation 3


class Gate(nnx.Module):
    """sigmoid(W x + b) with a block of W for each head; float32 [B, T, H, C]."""

    def __init__(self, unit: Rglru, *, dtype, rngs: nnx.Rngs):
        H, C = unit.heads, unit.width // unit.heads
        kernel = nnx.initializers.normal(0.02)(rngs.params(), (H, C, C), dtype)
        self.kernel = parameter(kernel, "hic")
        self.bias = parameter(jnp.zeros((H, C), dtype), "hc")

    def __call__(self, x_BTHC: jax.Array) -> jax.Array:
        kernel_HIC = self.kernel[...].astype(x_BTHC.dtype)
        # This order of the axes: XLA's CPU backend has no bfloat16 product for the other one.
        z_BTHC = contract("hic,bthi->bthc", kernel_HIC, x_BTHC, out_dtype=jnp.float32)
        return jax.nn.sigmoid(z_BTHC + self.bias[...].astype(jnp.float32))


class RecurrentUnit(Sublayer):
    """x_BTD -> x_BTD: out(recurrence(convolution(in x)) * act(gate x)).

    The recurrence is h_t = a_t h_{t-1} + sqrt(1 - a_t²) i_t x_t with a_t = exp(-8 r_t softplus(Λ))
    and gates r_t, i_t (equations 1 to 6). The factor sqrt(1 - a_t²) is 1 for a text's first token.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.rglru is not None
        self.act = spec.act
        self.unit = unit = spec.rglru
        D, H, C = spec.D, unit.heads, unit.width // unit.heads
        make = dict(dtype=dtype, rngs=rngs)
        self.branch_in = Linear("btd,dhc->bthc", (D, H, C), bias=(H, C), **make)
        self.branch_gate = Linear("btd,dhc->bthc", (D, H, C), bias=(H, C), **make)
        self.branch_out = Linear("bthc,hcd->btd", (H, C, D), bias=(D,), **make)
        taps = nnx.initializers.normal(0.02)(rngs.params(), (H, C, unit.taps), dtype)
        self.conv_kernel = parameter(taps, "hcw")
        self.conv_bias = parameter(jnp.zeros((H, C), dtype), "hc")
        self.input_gate = Gate(unit, **make)
        self.decay_gate = Gate(unit, **make)
        self.decay = parameter(jnp.zeros((H, C), dtype), "hc")

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        gate_BTHC = ACTIVATIONS[self.act](self.branch_gate(x_BTD, geometry))
        u_BTHC = self.branch_in(x_BTD, geometry)
        width = self.unit.width
        u_BTX = causal_conv(
            u_BTHC.reshape(*u_BTHC.shape[:2], width),
            self.conv_kernel[...].reshape(width, -1),
            self.conv_bias[...].reshape(width),
            geometry.position_BT,
        )
        h_BTHC = self._recurrence(u_BTX.reshape(u_BTHC.shape), geometry.position_BT)
        return self.branch_out(h_BTHC.astype(x_BTD.dtype) * gate_BTHC, geometry)

    def _recurrence(self, u_BTHC: jax.Array, position_BT: jax.Array) -> jax.Array:
        rate_HC = jax.nn.softplus(self.decay[...].astype(jnp.float32))
        log_decay_BTHC = -_SHARPNESS * self.decay_gate(u_BTHC) * rate_HC
        kept_BTHC = jnp.sqrt(-jnp.expm1(2 * log_decay_BTHC))
        kept_BTHC = jnp.where((position_BT == 0)[..., None, None], 1, kept_BTHC)
        input_BTHC = u_BTHC.astype(jnp.float32) * self.input_gate(u_BTHC)
        return linear_scan(jnp.exp(log_decay_BTHC), input_BTHC * kept_BTHC, position_BT)
