"""Matrix memory of the xLSTM (Beck et al. 2024, arXiv:2405.04517), in chunks of tokens.

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
from jaxmap.model.layers.linear import Linear, contract
from jaxmap.model.layers.norms import Norm
from jaxmap.model.layers.recurrence import over_chunks
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_CHUNK = 64  # tokens computed at once


def matrix_memory(
    q_BTHK: jax.Array,
    k_BTHK: jax.Array,
    v_BTHC: jax.Array,
    write_BTH: jax.Array,
    keep_BTH: jax.Array,
    position_BT: jax.Array,
    *,
    eps: float,
    chunk: int = _CHUNK,
) -> jax.Array:
    """The cell of the mLSTM: o_t = C_t q_t / (max(|n_t · q_t|, exp(-m_t)) + eps), [B, T, H, C].

    With f = log sigmoid(keep) and i = write, in float32 (arXiv:2405.04517, equations 19 to 27 and
    their stabilised form):

      m_t = max(f_t + m_{t-1}, i_t)
      C_t = exp(f_t + m_{t-1} - m_t) C_{t-1} + exp(i_t - m_t) v_t k_tᵀ
      n_t = exp(f_t + m_{t-1} - m_t) n_{t-1} + exp(i_t - m_t) k_t

    All three are 0 before the first token of a text.

    Args:
      q_BTHK, k_BTHK, v_BTHC, write_BTH, keep_BTH: float32.
      position_BT: see `Inputs`.
      eps: see above.
      chunk: the number of tokens computed at once.
    """
    B, T, H, K = q_BTHK.shape
    C = v_BTHC.shape[-1]
    chunk = min(chunk, T)
    s_t = jnp.arange(chunk)
    later_ts, known_ts = s_t[:, None] > s_t, s_t[:, None] >= s_t
    exact = partial(contract, exact=True)

    def step(carry, scanned):
        state_BHKC, m_BH = carry  # of the state, n is the last column of C
        q_BtHK, k_BtHK, v_BtHC, i_BtH, f_BtH, position_Bt = scanned
        v_BtHC = jnp.concatenate([v_BtHC, jnp.ones_like(v_BtHC[..., :1])], axis=-1)
        i_BHt, f_BHt = i_BtH.transpose(0, 2, 1), f_BtH.transpose(0, 2, 1)
        # Index in the chunk of the first token of each token's text; negative: before the chunk.
        start_Bt = s_t - position_Bt
        same_Bts = (start_Bt[:, :, None] == start_Bt[:, None, :]) & known_ts
        old_B1t = (start_Bt < 0)[:, None]
        # Decay from s (excluded) to t, summed separately for each s to avoid cancellation.
        decay_BHts = jnp.cumsum(jnp.where(later_ts, f_BHt[..., None], 0), axis=2)
        log_BHts = jnp.where(same_Bts[:, None], decay_BHts + i_BHt[:, :, None], -jnp.inf)
        # Decay of what was there before the text, or before the chunk.
        own_BHt = jnp.sum(jnp.where(same_Bts[:, None], f_BHt[:, :, None], 0), axis=-1)
        before_BHt = own_BHt + jnp.where(old_B1t, m_BH[..., None], 0)
        m_BHt = jnp.maximum(before_BHt, jnp.max(log_BHts, axis=-1))
        weight_BHts = jnp.exp(log_BHts - m_BHt[..., None])
        left_BHt = jnp.where(old_B1t, jnp.exp(before_BHt - m_BHt), 0)

        seen_BHts = exact("bthk,bshk->bhts", q_BtHK, k_BtHK) * weight_BHts
        sum_BtHC = exact("bhts,bshc->bthc", seen_BHts, v_BtHC)
        left_BtH1 = left_BHt.transpose(0, 2, 1)[..., None]
        sum_BtHC += exact("bthk,bhkc->bthc", q_BtHK * left_BtH1, state_BHKC)
        least_BtH = jnp.exp(-m_BHt).transpose(0, 2, 1)
        norm_BtH = jnp.maximum(jnp.abs(sum_BtHC[..., -1]), least_BtH) + eps
        o_BtHC = sum_BtHC[..., :-1] / norm_BtH[..., None]

        written_BsHC = v_BtHC * weight_BHts[:, :, -1].transpose(0, 2, 1)[..., None]
        state_BHKC = state_BHKC * left_BHt[..., -1, None, None]
        state_BHKC += exact("bshk,bshc->bhkc", k_BtHK, written_BsHC)
        return (state_BHKC, m_BHt[..., -1]), o_BtHC

    f_BTH = jax.nn.log_sigmoid(keep_BTH)
    arrays = (q_BTHK, k_BTHK, v_BTHC, write_BTH, f_BTH, position_BT)
    carry = jnp.zeros((B, H, K, C + 1), jnp.float32), jnp.zeros((B, H), jnp.float32)
    return over_chunks(step, carry, arrays, chunk=chunk)


class MatrixLstm(Sublayer):
    """x_BTD -> x_BTD, the mLSTM of xLSTM 7B (Beck et al. 2025, arXiv:2503.13427).

    The output of each head is normalised and multiplied by the sigmoid of a projection of the
    input. The gates that write to the memory and keep it are capped projections of the input.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.mlstm is not None
        self.facts = m = spec.mlstm
        D, H, K, C = spec.D, spec.H, m.K, m.C
        make = dict(dtype=dtype, rngs=rngs)

        def heads(width: int) -> Linear:
            bias = (H, width) if spec.qkv_bias else None
            return Linear("btd,dhc->bthc", (D, H, width), bias=bias, **make)

        self.query, self.key, self.value, self.out_gate = (heads(n) for n in (K, K, C, C))
        self.write, self.keep = (Linear("btd,dh->bth", (D, H), bias=(H,), **make) for _ in range(2))
        self.norm = Norm(
            "layer", (H, C), eps=spec.eps, bias=spec.norm_bias, letters="hc", dtype=dtype
        )
        self.out = Linear("bthc,hcd->btd", (H, C, D), bias=(D,) if spec.out_bias else None, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        cap = self.facts.gate_softcap

        def capped(linear: Linear) -> jax.Array:
            z_BTH = linear(x_BTD, geometry).astype(jnp.float32)
            return cap * jnp.tanh(z_BTH / cap) if cap else z_BTH

        q_BTHK, k_BTHK, v_BTHC = (
            linear(x_BTD, geometry).astype(jnp.float32)
            for linear in (self.query, self.key, self.value)
        )
        mixed_BTHC = matrix_memory(
            q_BTHK * self.facts.K**-0.5,
            k_BTHK,
            v_BTHC,
            capped(self.write),
            capped(self.keep),
            geometry.position_BT,
            eps=self.facts.eps,
        )
        normed_BTHC = self.norm(mixed_BTHC.astype(x_BTD.dtype))
        return self.out(jax.nn.sigmoid(self.out_gate(x_BTD, geometry)) * normed_BTHC, geometry)
