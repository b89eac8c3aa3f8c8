"""Rotary position embedding: the angles of a batch, and the rotation itself.

The frequencies are computed in `jaxmap.architectures.rope`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxmap.model.attention_facts import Rope


def angles(rope: Rope, position_BT: jax.Array, length_BT: jax.Array) -> jax.Array:
    """The angle of each token and channel pair, in radians, float32 [B, T, dims/2].

    Positions count from the start of each text. `length_BT` is the number of tokens of the token's
    text: LongRoPE and dynamic NTK choose the frequencies of each text by it.
    """
    inv_freq = jnp.asarray(rope.inv_freq, jnp.float32)
    if rope.long_inv_freq:
        long = jnp.asarray(rope.long_inv_freq, jnp.float32)
        inv_freq = jnp.where((length_BT > rope.long_beyond)[..., None], long, inv_freq)
    if rope.ntk:
        # theta' = theta (factor n / trained - (factor - 1))^(dims / (dims - 2)), n >= trained.
        n = jnp.maximum(length_BT, rope.ntk.trained).astype(jnp.float32)
        growth = rope.ntk.factor * n / rope.ntk.trained - (rope.ntk.factor - 1)
        theta = rope.ntk.theta * growth ** (rope.ntk.dims / (rope.ntk.dims - 2))
        exponent = jnp.arange(0, rope.ntk.dims, 2, dtype=jnp.float32) / rope.ntk.dims
        grown = 1 / theta[..., None] ** exponent
        # Texts within the trained length keep the exact frequencies.
        inv_freq = jnp.where((length_BT > rope.ntk.trained)[..., None], grown, inv_freq)
    return position_BT[..., None].astype(jnp.float32) * inv_freq


def gain(rope: Rope, length_BT: jax.Array) -> jax.Array:
    """The factor on cosine and sine, float32 [B, T], chosen by the length of each text."""
    long = (length_BT > rope.long_beyond) & bool(rope.long_gain)
    return jnp.where(long, rope.long_gain, rope.gain).astype(jnp.float32)


def rotate(x_BTHC: jax.Array, cos_BT1R: jax.Array, sin_BT1R: jax.Array, pairs: str) -> jax.Array:
    """Rotates the R channel pairs of each head, in float32. `pairs` is `Rope.pairs`."""
    R = cos_BT1R.shape[-1]
    x, rest = x_BTHC[..., : 2 * R].astype(jnp.float32), x_BTHC[..., 2 * R :]
    a, b = (x[..., :R], x[..., R:]) if pairs == "half" else (x[..., ::2], x[..., 1::2])
    turned = a * cos_BT1R - b * sin_BT1R, b * cos_BT1R + a * sin_BT1R
    if pairs == "half":
        y = jnp.concatenate(turned, axis=-1)
    else:
        y = jnp.stack(turned, axis=-1).reshape(x.shape)
    y = y.astype(x_BTHC.dtype)
    return jnp.concatenate([y, rest], axis=-1) if rest.shape[-1] else y


@dataclasses.dataclass(frozen=True)
class Turn:
    """What turns the queries and keys of a layer.

    Fields:
      cos_BT1R, sin_BT1R: float32, of each pair's angle.
      pairs: see `Rope`.
      on: whether the layer turns them at all; None: it does.
    """

    cos_BT1R: jax.Array
    sin_BT1R: jax.Array
    pairs: str
    on: jax.Array | None = None

    def __call__(self, x_BTHC: jax.Array) -> jax.Array:
        """`rotate`, where the layer does."""
        y_BTHC = rotate(x_BTHC, self.cos_BT1R, self.sin_BT1R, self.pairs)
        return y_BTHC if self.on is None else jnp.where(self.on, y_BTHC, x_BTHC)

    def lanes(self, C: int, width: int, heads: int) -> tuple[jax.Array, jax.Array, int]:
        """Turning as x cos + partner sin, for channels that lie side by side.

        Args:
          C, width, heads: channels of a head, the lanes that they are given, and how many heads
            of C channels share `width` lanes.

        float32 [B, T, width] each, sines with their signs, 1 and 0 where nothing turns; and how
        many lanes away the partner is, after the lanes that are first of a pair, before the others.
        """
        cos_BTR, sin_BTR = self.cos_BT1R[:, :, 0], self.sin_BT1R[:, :, 0]
        if self.on is not None:
            cos_BTR = jnp.where(self.on, cos_BTR, 1)
            sin_BTR = jnp.where(self.on, sin_BTR, 0)
        R = cos_BTR.shape[-1]
        if self.pairs == "half":
            cos = jnp.concatenate([cos_BTR, cos_BTR], axis=-1)
            sin = jnp.concatenate([-sin_BTR, sin_BTR], axis=-1)
        else:
            cos = jnp.repeat(cos_BTR, 2, axis=-1)
            sin = jnp.stack([-sin_BTR, sin_BTR], axis=-1).reshape(cos.shape)
        own = [(0, 0), (0, 0), (0, C - 2 * R)]
        cos, sin = jnp.pad(cos, own, constant_values=1), jnp.pad(sin, own)
        rest = [(0, 0), (0, 0), (0, width - heads * C)]
        cos, sin = jnp.tile(cos, (1, 1, heads)), jnp.tile(sin, (1, 1, heads))
        return jnp.pad(cos, rest), jnp.pad(sin, rest), R if self.pairs == "half" else 1
