"""Mamba-2's state space (Dao and Gu 2024, arXiv:2405.21060), by matrix products over chunks.

There are H heads of P channels; each channel has a state of N numbers. The R heads of each of G
groups share the projections into and out of the state. Tokens of one chunk are combined as in
attention, with weights that decay at the head's rate; earlier chunks act through the state.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.layers.norms import NORMS
from jaxmap.model.layers.recurrence import causal_conv, over_chunks
from jaxmap.model.mlps.dense import ACTIVATIONS
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_CHUNK = 64  # tokens computed at once


def _sums(a_btH: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cumulative sums along a chunk's tokens, and the rounding error of each.

    Differences of two sums are exponents, in which the rounding errors of large sums would show.
    """

    def added(one, other):
        (a, lost), (b, more) = one, other
        total = a + b
        kept = total - a
        return total, lost + more + ((a - (total - kept)) + (b - kept))

    return jax.lax.associative_scan(added, (a_btH, jnp.zeros_like(a_btH)), axis=1)


def state_space(
    x_BTHP: jax.Array,
    step_BTH: jax.Array,
    rate_H: jax.Array,
    write_BTGN: jax.Array,
    read_BTGN: jax.Array,
    position_BT: jax.Array,
    *,
    chunk: int = _CHUNK,
) -> jax.Array:
    """y_t = h_t read_t, where h_t = exp(step_t rate) h_{t-1} + step_t x_t write_tᵀ in each head.

    All arrays but `position_BT` are float32; the result is [B, T, H, P].

    Args:
      x_BTHP: the input of each channel.
      step_BTH: time steps, positive.
      rate_H: decay rates, negative (A in the paper).
      write_BTGN, read_BTGN: projections into and out of the state (B and C in the paper); head h
        uses group h // (H / G).
      position_BT: see `Inputs`; the state is zero before a text's first token.
      chunk: the number of tokens computed at once.
    """
    B, _, H, P = x_BTHP.shape
    G, N = write_BTGN.shape[2:]
    R = H // G
    exact = partial(contract, exact=True)

    def step(state_BGRNP, scanned):
        x_btHP, step_btH, log_btH, write_btGN, read_btGN, position_bt = scanned
        count = x_btHP.shape[1]
        t = jnp.arange(count)
        sum_btH, lost_btH = _sums(log_btH)

        def faded(to, since) -> jax.Array:  # exp of the rates summed over (since, to]
            return jnp.exp((sum_btH[to] - sum_btH[since]) + (lost_btH[to] - lost_btH[since]))

        every = slice(None)
        seen_bts = (t <= t[:, None]) & (t >= t[:, None] - position_bt[..., None])
        weight_btsH = faded((every, every, None), (every, None))
        weight_btsH = jnp.where(seen_bts[..., None], weight_btsH, 0) * step_btH[:, None]
        weight_btsGR = weight_btsH.reshape(B, count, count, G, R)
        alike_btsG = exact("btgn,bsgn->btsg", read_btGN, write_btGN)
        x_btGRP = x_btHP.reshape(B, count, G, R, P)
        y_btGRP = exact("btsgr,bsgrp->btgrp", alike_btsG[..., None] * weight_btsGR, x_btGRP)

        # A text that began before this chunk continues from the state.
        older_bt = position_bt > t
        carried_btH = jnp.exp(sum_btH + lost_btH) * older_bt[..., None]
        earlier_btGRP = exact("btgn,bgrnp->btgrp", read_btGN, state_BGRNP)
        y_btGRP = y_btGRP + earlier_btGRP * carried_btH.reshape(B, count, G, R, 1)

        left_BGR11 = carried_btH[:, -1].reshape(B, G, R, 1, 1)
        kept_bsGR1 = weight_btsGR[:, -1][..., None]
        state_BGRNP = left_BGR11 * state_BGRNP + exact(
            "bsgn,bsgrp->bgrnp", write_btGN, kept_bsGR1 * x_btGRP
        )
        return state_BGRNP, y_btGRP.reshape(B, count, H, P)

    state_BGRNP = jnp.zeros((B, G, R, N, P), x_BTHP.dtype)
    # One bit is dropped: otherwise the compiler fuses the product into some of the sums without
    # rounding it and rounds it in others, an error that the sums do not account for.
    log_BTH = jax.lax.reduce_precision(step_BTH * rate_H, exponent_bits=8, mantissa_bits=22)
    arrays = (x_BTHP, step_BTH, log_BTH, write_BTGN, read_BTGN, position_BT)
    return over_chunks(step, state_BGRNP, arrays, chunk=chunk)


class GatedNorm(nnx.Module):
    """Root mean square norm of each of G groups of channels and a SiLU gate; float32 [B, T, I]."""

    def __init__(self, inner: int, groups: int, *, eps: float, gate_last: bool, dtype):
        self.groups = groups
        self.eps = eps
        self.gate_last = gate_last
        self.scale = parameter(jnp.ones((inner,), dtype))

    def __call__(self, y_BTI: jax.Array, gate_BTI: jax.Array) -> jax.Array:
        gate_BTI = jax.nn.silu(gate_BTI.astype(jnp.float32))
        if not self.gate_last:
            y_BTI = y_BTI * gate_BTI
        y_BTGC = y_BTI.reshape(*y_BTI.shape[:2], self.groups, -1)
        y_BTI = NORMS["rms"](y_BTGC, self.eps).reshape(y_BTI.shape)
        y_BTI = y_BTI * self.scale[...].astype(jnp.float32)
        return y_BTI * gate_BTI if self.gate_last else y_BTI


class StateSpaceDuality(Sublayer):
    """Mamba-2's mixer, x_BTD -> x_BTD, with I = H P channels; Z = I + 2 G N are convolved."""

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.ssm is not None
        self.ssm = s = spec.ssm
        self.parts = spec.multipliers.ssm_parts
        D, I, H = spec.D, s.inner, s.heads  # noqa: E741
        Z = I + 2 * s.groups * s.state
        make = dict(dtype=dtype, rngs=rngs)

        def into(width: int) -> Linear:
            return Linear("btd,dz->btz", (D, width), bias=(width,) if s.in_bias else None, **make)

        self.gate, self.into, self.step = into(I), into(Z), into(H)
        self.conv = parameter(nnx.initializers.normal(0.3)(rngs.params(), (Z, s.taps), dtype))
        self.conv_bias = parameter(jnp.zeros((Z,), dtype)) if s.conv_bias else None
        self.step_bias = parameter(jnp.ones((H,), dtype))
        self.log_rate = parameter(jnp.log(jnp.arange(1, H + 1, dtype=jnp.float32)).astype(dtype))
        self.skip = parameter(jnp.ones((H,), dtype))
        gate_last = s.norm == "gate_last"
        self.norm = (
            GatedNorm(I, s.groups, eps=s.eps, gate_last=gate_last, dtype=dtype) if s.norm else None
        )
        self.out = Linear("bti,id->btd", (I, D), bias=(D,) if s.out_bias else None, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        s, position_BT = self.ssm, geometry.position_BT
        (B, T, _), GN = x_BTD.shape, s.groups * s.state
        of_gate, of_x, of_write, of_read, of_step = self.parts
        gate_BTI, z_BTZ = self.gate(x_BTD, geometry), self.into(x_BTD, geometry)
        step_BTH = self.step(x_BTD, geometry)
        if self.parts != (1.0,) * 5:
            of_Z = np.repeat([of_x, of_write, of_read], [s.inner, GN, GN])
            z_BTZ = z_BTZ * jnp.asarray(of_Z, z_BTZ.dtype)
            gate_BTI, step_BTH = gate_BTI * of_gate, step_BTH * of_step
        conv_bias_Z = None if self.conv_bias is None else self.conv_bias[...]
        z_BTZ = causal_conv(z_BTZ, self.conv[...], conv_bias_Z, position_BT)
        z_BTZ = ACTIVATIONS[s.act](z_BTZ).astype(jnp.float32)
        x_BTI, write_BTX, read_BTX = jnp.split(z_BTZ, [s.inner, s.inner + GN], axis=-1)
        x_BTHP = x_BTI.reshape(B, T, s.heads, -1)
        step_BTH = jax.nn.softplus(step_BTH.astype(jnp.float32) + self._float32(self.step_bias))
        if s.step_limit != (0.0, math.inf):
            step_BTH = jnp.clip(step_BTH, *s.step_limit)
        y_BTHP = state_space(
            x_BTHP,
            step_BTH,
            -jnp.exp(self._float32(self.log_rate)),
            write_BTX.reshape(B, T, s.groups, s.state),
            read_BTX.reshape(B, T, s.groups, s.state),
            position_BT,
        )
        y_BTHP = y_BTHP + x_BTHP * self._float32(self.skip)[:, None]
        y_BTI = y_BTHP.reshape(x_BTI.shape)
        if self.norm is None:
            y_BTI = y_BTI * jax.nn.silu(gate_BTI.astype(jnp.float32))
        else:
            y_BTI = self.norm(y_BTI, gate_BTI)
        return self.out(y_BTI.astype(x_BTD.dtype), geometry)

    @staticmethod
    def _float32(param: nnx.Param) -> jax.Array:
        return param[...].astype(jnp.float32)
