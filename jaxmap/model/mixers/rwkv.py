"""RWKV-4 (Peng et al. 2023, arXiv:2305.13048): time mixing and channel mixing.

Time mixing treats each of its H channels as a head of its own. Both mixings read a token and the
token before it in the same text.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, parameter
from jaxmap.model.layers.recurrence import over_chunks
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer

_CHUNK = 16  # tokens computed at once, each from all tokens of its chunk


def wkv(
    decay_H: jax.Array,
    first_H: jax.Array,
    k_BTH: jax.Array,
    v_BTH: jax.Array,
    position_BT: jax.Array,
) -> jax.Array:
    """The weighted mean of a text's values up to each token, per channel, float32 [B, T, H].

    The weight of an earlier token s at t is exp(k_s - (t - 1 - s) decay), that of t itself
    exp(k_t + first) (equation 16). The state between chunks is the sum of weighted values and the
    sum of weights, both divided by the exponential of the largest exponent.

    Args:
      decay_H: positive, float32.
      first_H: float32.
      k_BTH, v_BTH: any float dtype.
      position_BT: see `Inputs`.
    """
    k_BTH, v_BTH = k_BTH.astype(jnp.float32), v_BTH.astype(jnp.float32)
    B, T, H = k_BTH.shape
    chunk = min(_CHUNK, T)
    place_t = jnp.arange(chunk)
    age_ts = place_t[:, None] - 1 - place_t  # tokens between s and t

    def weighed(old: tuple[jax.Array, ...], exponent: jax.Array, v: jax.Array, axis: int):
        """The sums `old`, plus those of new exponents and values over an axis."""
        top, value, weight = old
        highest = jnp.maximum(top, exponent.max(axis))
        share = jnp.exp(exponent - jnp.expand_dims(highest, axis))
        kept = jnp.exp(top - highest)
        return highest, kept * value + (share * v).sum(axis), kept * weight + share.sum(axis)

    def step(carry: tuple[jax.Array, ...], scanned):
        k_BsH, v_BsH, position_Bt = scanned
        top_BH, value_BH, weight_BH = carry
        # Index in the chunk of the first token of each token's text; negative: before the chunk.
        start_Bt = place_t - position_Bt
        same_Bts = start_Bt[:, :, None] == start_Bt[:, None, :]
        old_Bt1 = (start_Bt < 0)[..., None]

        aged_tsH = jnp.where((age_ts == -1)[..., None], first_H, -age_ts[..., None] * decay_H)
        reads_Bts1 = (same_Bts & (age_ts >= -1))[..., None]
        exponent_BtsH = jnp.where(reads_Bts1, k_BsH[:, None] + aged_tsH, -jnp.inf)
        top_BtH = jnp.where(old_Bt1, top_BH[:, None] - place_t[:, None] * decay_H, -jnp.inf)
        carried = (top_BtH, value_BH[:, None], weight_BH[:, None])
        _, value_BtH, weight_BtH = weighed(carried, exponent_BtsH, v_BsH[:, None], 2)

        left_sH = (place_t - (chunk - 1))[:, None] * decay_H
        exponent_BsH = jnp.where(same_Bts[:, -1, :, None], k_BsH + left_sH, -jnp.inf)
        top_BH = jnp.where(old_Bt1[:, -1], top_BH - chunk * decay_H, -jnp.inf)
        return weighed((top_BH, value_BH, weight_BH), exponent_BsH, v_BsH, 1), (
            value_BtH / weight_BtH
        )

    zero_BH = jnp.zeros((B, H), jnp.float32)
    nothing = (jnp.full_like(zero_BH, -jnp.inf), zero_BH, zero_BH)
    return over_chunks(step, nothing, (k_BTH, v_BTH, position_BT), chunk=chunk)


def _before(x_BTD: jax.Array, geometry: Geometry) -> jax.Array:
    """The state of the token before each token in its text; zeros for the first."""
    earlier_BTD = jnp.pad(x_BTD[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return jnp.where((geometry.position_BT > 0)[..., None], earlier_BTD, 0)


def _share(width: int, dtype) -> nnx.Param:
    """A parameter: the weight of the token itself, against the token before it, per channel."""
    return parameter(jnp.full((width,), 0.5, dtype), "d")


def _mixed(x_BTD: jax.Array, earlier_BTD: jax.Array, share: nnx.Param) -> jax.Array:
    share_D = share[...].astype(x_BTD.dtype)
    return x_BTD * share_D + earlier_BTD * (1 - share_D)


class TimeMix(Sublayer):
    """x_BTD -> x_BTD: o(sigmoid(r) wkv(k, v)); r, k, v come from a token and the one before it."""

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, H = spec.D, spec.H
        make = dict(dtype=dtype, rngs=rngs)
        self.share_r, self.share_k, self.share_v = (_share(D, dtype) for _ in range(3))
        self.r = Linear("btd,dh->bth", (D, H), **make)
        self.k = Linear("btd,dh->bth", (D, H), **make)
        self.v = Linear("btd,dh->bth", (D, H), **make)
        self.o = Linear("bth,hd->btd", (H, D), **make)
        # Always float32, because they are exponents.
        self.decay = parameter(jnp.zeros((H,), jnp.float32), "h")
        self.first = parameter(jnp.zeros((H,), jnp.float32), "h")

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        earlier_BTD = _before(x_BTD, geometry)
        r_BTH = self.r(_mixed(x_BTD, earlier_BTD, self.share_r), geometry)
        k_BTH = self.k(_mixed(x_BTD, earlier_BTD, self.share_k), geometry)
        v_BTH = self.v(_mixed(x_BTD, earlier_BTD, self.share_v), geometry)
        decay_H = jnp.exp(self.decay[...])
        mean_BTH = wkv(decay_H, self.first[...], k_BTH, v_BTH, geometry.position_BT)
        return self.o(jax.nn.sigmoid(r_BTH) * mean_BTH.astype(x_BTD.dtype), geometry)


class ChannelMix(Sublayer):
    """x_BTD -> x_BTD: sigmoid(r) v(relu(k)²); r and k come from a token and the one before it."""

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, F = spec.D, kind.F or spec.F
        make = dict(dtype=dtype, rngs=rngs)
        self.share_r, self.share_k = (_share(D, dtype) for _ in range(2))
        self.r = Linear("btd,dz->btz", (D, D), **make)
        self.k = Linear("btd,df->btf", (D, F), **make)
        self.v = Linear("btf,fd->btd", (F, D), **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        earlier_BTD = _before(x_BTD, geometry)
        r_BTD = self.r(_mixed(x_BTD, earlier_BTD, self.share_r), geometry)
        k_BTF = self.k(_mixed(x_BTD, earlier_BTD, self.share_k), geometry)
        return jax.nn.sigmoid(r_BTD) * self.v(jnp.square(jax.nn.relu(k_BTF)), geometry)
