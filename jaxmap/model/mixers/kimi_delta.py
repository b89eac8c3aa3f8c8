"""Kimi delta attention: the delta rule with a decay per channel (Kimi Team 2025).

In array names, H is heads, K the channels of a key and C those of a value, t and s tokens of a
chunk.
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
from jaxmap.model.layers.recurrence import over_chunks
from jaxmap.model.mixers.delta import convolved, unit
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_CHUNK = 16  # tokens computed at once; decays of a chunk take its square times K numbers per head


def channel_delta_rule(
    q_BTHK: jax.Array,
    k_BTHK: jax.Array,
    v_BTHC: jax.Array,
    log_decay_BTHK: jax.Array,
    rate_BTH: jax.Array,
    position_BT: jax.Array,
    *,
    chunk: int = _CHUNK,
) -> jax.Array:
    """The delta rule with a decay per channel: o_t = q_t S_t, float32 [B, T, H, C].

    The state is S_t = S' + rate_t k_t (v_t - k_t S')ᵀ with S' = diag(exp(log_decay_t)) S_{t-1}, and
    0 before the first token of a text (arXiv:2510.26692, equation 1). The updates of a chunk's
    tokens solve one triangular system.

    Args:
      q_BTHK, k_BTHK, v_BTHC, rate_BTH: float32; keys must have length 1, or the state can diverge.
      log_decay_BTHK: float32, at most 0.
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
        q_BtHK, k_BtHK, v_BtHC, g_BtHK, rate_BtH, position_Bt = scanned
        # Index in the chunk of the first token of each token's text; negative: before the chunk.
        start_Bt = s_t - position_Bt
        same_Bts = (start_Bt[:, :, None] == start_Bt[:, None, :]) & (s_t[:, None] >= s_t)
        old_Bt11 = (start_Bt < 0)[..., None, None]
        # Decay from s (excluded) to t, summed separately for each s to avoid cancellation.
        g_BtsHK = jnp.where(later_ts[..., None, None], g_BtHK[:, :, None], 0)
        decay_BtsHK = jnp.exp(jnp.cumsum(g_BtsHK, axis=1))
        decay_BtsHK = jnp.where(same_Bts[..., None, None], decay_BtsHK, 0)
        # Decay of the state before the chunk, which texts that begin in the chunk do not see.
        decay_BtHK = jnp.where(old_Bt11, jnp.exp(jnp.cumsum(g_BtHK, axis=1)), 0)

        faded_BtsHK = k_BtHK[:, None] * decay_BtsHK
        overlap_BHts = jnp.sum(k_BtHK[:, :, None] * faded_BtsHK, axis=-1).transpose(0, 3, 1, 2)
        rate_BHt1 = rate_BtH.transpose(0, 2, 1)[..., None]
        known_BtHC = exact("bthk,bhkc->bthc", k_BtHK * decay_BtHK, state_BHKC)
        wanted_BHtC = rate_BHt1 * (v_BtHC - known_BtHC).transpose(0, 2, 1, 3)
        system_BHts = jnp.where(later_ts, rate_BHt1 * overlap_BHts, 0)
        change_BHtC = jax.lax.linalg.triangular_solve(
            system_BHts, wanted_BHtC, left_side=True, lower=True, unit_diagonal=True
        )

        seen_BHts = jnp.sum(q_BtHK[:, :, None] * faded_BtsHK, axis=-1).transpose(0, 3, 1, 2)
        o_BtHC = exact("bhts,bhsc->bthc", seen_BHts, change_BHtC)
        o_BtHC += exact("bthk,bhkc->bthc", q_BtHK * decay_BtHK, state_BHKC)
        left_BHKC = state_BHKC * decay_BtHK[:, -1, ..., None]
        left_BHKC += exact("bshk,bhsc->bhkc", faded_BtsHK[:, -1], change_BHtC)
        return left_BHKC, o_BtHC

    arrays = (q_BTHK, k_BTHK, v_BTHC, log_decay_BTHK, rate_BTH, position_BT)
    return over_chunks(step, jnp.zeros((B, H, K, C), jnp.float32), arrays, chunk=chunk)


class KimiDelta(Sublayer):
    """x_BTD -> x_BTD, Kimi delta attention (arXiv:2510.26692).

    Queries, keys and values are convolved over tokens. The decay of a channel is
    exp(-exp(A) softplus(a + dt)), or exp(least sigmoid(exp(A) (a + dt))) with
    `Delta.least_log_decay`, where a is a projection of the input; the rate is sigmoid(b). The
    output is normalised and multiplied by the sigmoid of a projection of the input. Both
    projections go through K channels where `Delta.low_rank` says so.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.delta is not None
        self.act = spec.act
        d = spec.delta
        make = dict(dtype=dtype, rngs=rngs)
        self.query, self.key, self.value = (
            Linear("btd,dhc->bthc", (spec.D, d.H, width), **make) for width in (d.K, d.K, d.C)
        )
        self.decay, self.out_gate = (
            None if d.low_rank else Linear("btd,dhc->bthc", (spec.D, d.H, width), **make)
            for width in (d.K, d.C)
        )
        self.decay_down, self.gate_down = (
            Linear("btd,dz->btz", (spec.D, d.K), **make) if d.low_rank else None for _ in range(2)
        )
        self.decay_up, self.gate_up = (
            Linear("btz,zhc->bthc", (d.K, d.H, width), **make) if d.low_rank else None
            for width in (d.K, d.C)
        )
        self.least = d.least_log_decay
        self.rate = Linear("btd,dh->bth", (spec.D, d.H), **make)
        self.out = Linear("bthc,hcd->btd", (d.H, d.C, spec.D), **make)

        def taps(channels: int) -> nnx.Param:
            shape = (d.H, channels, d.taps)
            return parameter(nnx.initializers.normal(0.02)(rngs.params(), shape, dtype), "hcw")

        self.conv_q, self.conv_k, self.conv_v = taps(d.K), taps(d.K), taps(d.C)
        self.step_bias = parameter(jnp.ones((d.H, d.K), dtype), "hc")
        # Always float32, because it is an exponent.
        self.log_rate = parameter(jnp.zeros((d.H,), jnp.float32), "h")
        self.norm = Norm("rms", (d.C,), eps=d.eps or spec.eps, dtype=dtype)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        def read(linear: Linear, taps: nnx.Param) -> jax.Array:
            return convolved(linear(x_BTD, geometry), taps[...], self.act, geometry)

        q_BTHK, k_BTHK = unit(read(self.query, self.conv_q)), unit(read(self.key, self.conv_k))

        def projected(whole: Linear | None, down: Linear | None, up: Linear | None) -> jax.Array:
            if whole is not None:
                return whole(x_BTD, geometry).astype(jnp.float32)
            assert down is not None
            assert up is not None
            return up(down(x_BTD, geometry), geometry).astype(jnp.float32)

        step_BTHK = projected(self.decay, self.decay_down, self.decay_up)
        step_BTHK = step_BTHK + self.step_bias[...].astype(jnp.float32)
        decay_H1 = jnp.exp(self.log_rate[...])[:, None]
        if self.least:
            log_decay_BTHK = self.least * jax.nn.sigmoid(decay_H1 * step_BTHK)
        else:
            log_decay_BTHK = -decay_H1 * jax.nn.softplus(step_BTHK)
        mixed_BTHC = channel_delta_rule(
            q_BTHK * q_BTHK.shape[-1] ** -0.5,
            k_BTHK,
            read(self.value, self.conv_v).astype(jnp.float32),
            log_decay_BTHK,
            jax.nn.sigmoid(self.rate(x_BTD, geometry)).astype(jnp.float32),
            geometry.position_BT,
        )
        gate_BTHC = projected(self.out_gate, self.gate_down, self.gate_up)
        normed_BTHC = self.norm(mixed_BTHC.astype(x_BTD.dtype)).astype(jnp.float32)
        gated_BTHC = normed_BTHC * jax.nn.sigmoid(gate_BTHC)
        return self.out(gated_BTHC.astype(x_BTD.dtype), geometry)
