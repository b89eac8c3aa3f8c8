"""Gated delta rule (Yang et al. 2024, arXiv:2412.06464), in chunks of tokens.

In array names, H is value heads, G query and key heads, K and C the channels of a key head and a
value head, t and s tokens of a chunk.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.layers.recurrence import causal_conv, over_chunks
from jaxmap.model.mlps.dense import ACTIVATIONS
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_CHUNK = 64  # tokens computed at once
_LEAST = 1e-6  # added to the squared length when queries and keys are divided by their length


def delta_rule(
    q_BTHK: jax.Array,
    k_BTHK: jax.Array,
    v_BTHC: jax.Array,
    log_decay_BTH: jax.Array,
    rate_BTH: jax.Array,
    position_BT: jax.Array,
    *,
    chunk: int = _CHUNK,
) -> jax.Array:
    """The gated delta rule: o_t = S_t q_t, float32 [B, T, H, C].

    The state is S_t = S' + rate_t (v_t - S' k_t) k_tᵀ with S' = exp(log_decay_t) S_{t-1}, and 0
    before the first token of a text. The updates of a chunk's tokens solve one triangular system
    (Yang et al. 2024, section 3.3).

    Args:
      q_BTHK, k_BTHK, v_BTHC, rate_BTH: float32; keys must have length 1, or the state can diverge.
      log_decay_BTH: float32, at most 0.
      position_BT: see `Inputs`.
      chunk: the number of tokens computed at once.
    """
    B, T, H, K = q_BTHK.shape
    C = v_BTHC.shape[-1]
    chunk = min(chunk, T)
    s_t = jnp.arange(chunk)
    later_ts = s_t[:, None] > s_t

    exact = partial(contract, exact=True)

    def step(state_BHKC: jax.Array, scanned) -> tuple[jax.Array, jax.Array]:
        q_BtHK, k_BtHK, v_BtHC, g_BtH, rate_BtH, position_Bt = scanned
        # Index in the chunk of the first token of each token's text; negative: before the chunk.
        start_Bt = s_t - position_Bt
        same_Bts = (start_Bt[:, :, None] == start_Bt[:, None, :]) & (s_t[:, None] >= s_t)
        old_Bt1 = (start_Bt < 0)[..., None]
        # Decay from s (excluded) to t, summed separately for each s to avoid cancellation.
        g_BHts = jnp.where(later_ts, g_BtH.transpose(0, 2, 1)[..., None], 0)
        decay_BHts = jnp.where(same_Bts[:, None], jnp.exp(jnp.cumsum(g_BHts, axis=2)), 0)
        # Decay of the state before the chunk, which texts that begin in the chunk do not see.
        decay_BtH = jnp.where(old_Bt1, jnp.exp(jnp.cumsum(g_BtH, axis=1)), 0)

        overlap_BHts = exact("bthk,bshk->bhts", k_BtHK, k_BtHK) * decay_BHts
        rate_BHt1 = rate_BtH.transpose(0, 2, 1)[..., None]
        known_BtHC = exact("bthk,bhkc->bthc", k_BtHK * decay_BtH[..., None], state_BHKC)
        wanted_BHtC = rate_BHt1 * (v_BtHC - known_BtHC).transpose(0, 2, 1, 3)
        system_BHts = jnp.where(later_ts, rate_BHt1 * overlap_BHts, 0)
        change_BHtC = jax.lax.linalg.triangular_solve(
            system_BHts, wanted_BHtC, left_side=True, lower=True, unit_diagonal=True
        )

        seen_BHts = exact("bthk,bshk->bhts", q_BtHK, k_BtHK) * decay_BHts
        o_BtHC = exact("bhts,bhsc->bthc", seen_BHts, change_BHtC)
        o_BtHC += exact("bthk,bhkc->bthc", q_BtHK * decay_BtH[..., None], state_BHKC)
        left_BHKC = state_BHKC * decay_BtH[:, -1, :, None, None]
        change_BHtC = change_BHtC * decay_BHts[:, :, -1, :, None]
        left_BHKC += exact("bthk,bhtc->bhkc", k_BtHK, change_BHtC)
        return left_BHKC, o_BtHC

    arrays = (q_BTHK, k_BTHK, v_BTHC, log_decay_BTH, rate_BTH, position_BT)
    return over_chunks(step, jnp.zeros((B, H, K, C), jnp.float32), arrays, chunk=chunk)


def unit(x: jax.Array) -> jax.Array:
    """Vectors (last axis) divided by their length, float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + _LEAST)


def convolved(x_BTHC: jax.Array, taps_HCW: jax.Array, act: str, geometry: Geometry) -> jax.Array:
    """Each channel of each head convolved over the tokens of its text, then activated, x_BTHC.

    `act` is a key of `ACTIVATIONS`.
    """
    flat_BTX = x_BTHC.reshape(*x_BTHC.shape[:2], -1)
    kernel_XW = taps_HCW.reshape(flat_BTX.shape[-1], -1)
    flat_BTX = causal_conv(flat_BTX, kernel_XW, None, geometry.position_BT)
    return ACTIVATIONS[act](flat_BTX).reshape(x_BTHC.shape)


class GatedDelta(Sublayer):
    """x_BTD -> x_BTD: queries, keys and values convolved over tokens, then the gated delta rule.

    The decay of a head is exp(-exp(A) softplus(a + dt)) and its rate `Delta.rate` sigmoid(b), where
    a and b are projections of the input. The output is normalised and gated.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.delta is not None
        self.act = spec.act
        d = spec.delta
        self.shared = d.H // d.G  # value heads that share a query and a key
        make = dict(dtype=dtype, rngs=rngs)
        self.query = Linear("btd,dgk->btgk", (spec.D, d.G, d.K), **make)
        self.key = Linear("btd,dgk->btgk", (spec.D, d.G, d.K), **make)
        self.value = Linear("btd,dhc->bthc", (spec.D, d.H, d.C), **make)
        self.out_gate = Linear("btd,dhc->bthc", (spec.D, d.H, d.C), **make)
        self.rate = Linear("btd,dh->bth", (spec.D, d.H), **make)
        self.step = Linear("btd,dh->bth", (spec.D, d.H), **make)
        self.out = Linear("bthc,hcd->btd", (d.H, d.C, spec.D), **make)

        def taps(heads: int, channels: int, letters: str) -> nnx.Param:
            shape = (heads, channels, d.taps)
            return parameter(nnx.initializers.normal(0.02)(rngs.params(), shape, dtype), letters)

        self.conv_q, self.conv_k = (taps(d.G, d.K, "gkw") for _ in range(2))
        self.conv_v = taps(d.H, d.C, "hcw")
        self.step_bias = parameter(jnp.ones((d.H,), dtype), "h")
        # Always float32, because it is an exponent.
        self.log_rate = parameter(jnp.zeros((d.H,), jnp.float32), "h")
        self.norm = Norm("rms", (d.C,), eps=d.eps or spec.eps, dtype=dtype)
        self.largest_rate = d.rate
        self.gate = jax.nn.sigmoid if d.gate == "sigmoid" else ACTIVATIONS[d.gate]

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        def read(linear: Linear, taps: nnx.Param) -> jax.Array:
            return convolved(linear(x_BTD, geometry), taps[...], self.act, geometry)

        q_BTGK, k_BTGK = unit(read(self.query, self.conv_q)), unit(read(self.key, self.conv_k))
        v_BTHC = read(self.value, self.conv_v).astype(jnp.float32)
        step_BTH = self.step(x_BTD, geometry).astype(jnp.float32)
        step_BTH = step_BTH + self.step_bias[...].astype(jnp.float32)
        rate_BTH = jax.nn.sigmoid(self.rate(x_BTD, geometry)).astype(jnp.float32)
        if self.largest_rate != 1:
            rate_BTH = rate_BTH * self.largest_rate
        mixed_BTHC = delta_rule(
            jnp.repeat(q_BTGK * q_BTGK.shape[-1] ** -0.5, self.shared, axis=2),
            jnp.repeat(k_BTGK, self.shared, axis=2),
            v_BTHC,
            -jnp.exp(self.log_rate[...]) * jax.nn.softplus(step_BTH),
            rate_BTH,
            geometry.position_BT,
        )
        normed_BTHC = self.norm(mixed_BTHC.astype(x_BTD.dtype)).astype(jnp.float32)
        gate_BTHC = self.out_gate(x_BTD, geometry).astype(jnp.float32)
        gated_BTHC = normed_BTHC * self.gate(gate_BTHC)
        return self.out(gated_BTHC.astype(x_BTD.dtype), geometry)
