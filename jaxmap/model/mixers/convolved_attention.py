"""Compressed convolutional attention (Figliolia et al. 2025, arXiv:2510.04476)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.layers.recurrence import causal_conv
from jaxmap.model.mixers.attention import turn_of
from jaxmap.model.mixers.dot_product_attention import attend
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class HeadConvolutions(nnx.Module):
    """x_BTHC -> x_BTHC: a convolution of each channel alone, then one of each head's channels.

    Both are causal and have biases. Before a text's first token the first reads zeros, and the
    second what the first makes of them, which is its bias.
    """

    def __init__(self, heads: int, C: int, taps: int, head_taps: int, letter: str, *, dtype, rngs):
        noise = nnx.initializers.normal(0.02)

        def made(*shape: int, letters: str) -> nnx.Param:
            return parameter(noise(rngs.params(), (heads, *shape), dtype), letter + letters)

        self.channel = made(C, taps, letters="cw")
        self.channel_bias = parameter(jnp.zeros((heads, C), dtype), letter + "c")
        self.head = made(C, C, head_taps, letters="czw")
        self.head_bias = parameter(jnp.zeros((heads, C), dtype), letter + "c")

    def __call__(self, x_BTHC: jax.Array, position_BT: jax.Array) -> jax.Array:
        B, T, H, C = x_BTHC.shape
        kernel_XW = self.channel[...].reshape(H * C, -1)
        bias_X = self.channel_bias[...].reshape(-1)
        y_BTX = causal_conv(x_BTHC.reshape(B, T, H * C), kernel_XW, bias_X, position_BT)
        y_BTHC = y_BTX.reshape(x_BTHC.shape)
        kernel_HCZW = self.head[...]
        before_HC = self.channel_bias[...].astype(y_BTHC.dtype)
        sum_BTHZ = self.head_bias[...].astype(jnp.float32)
        for lag in range(min(kernel_HCZW.shape[-1], T)):
            earlier_BTHC = jnp.pad(y_BTHC[:, : T - lag], ((0, 0), (lag, 0), (0, 0), (0, 0)))
            own_BT11 = (position_BT >= lag)[..., None, None]
            seen_BTHC = jnp.where(own_BT11, earlier_BTHC, before_HC)
            kernel_HCZ = kernel_HCZW[..., -1 - lag]
            product = contract("bthc,hcz->bthz", seen_BTHC, kernel_HCZ, out_dtype=jnp.float32)
            sum_BTHZ = sum_BTHZ + product
        # In a row that is shorter than the kernel no text reaches further back.
        for lag in range(T, kernel_HCZW.shape[-1]):
            kernel_HCZ = kernel_HCZW[..., -1 - lag]
            product = contract("hc,hcz->hz", before_HC, kernel_HCZ, out_dtype=jnp.float32)
            sum_BTHZ = sum_BTHZ + product
        return sum_BTHZ.astype(x_BTHC.dtype)


class ConvolvedAttention(Sublayer):
    """x_BTD -> x_BTD: attention whose queries and keys are convolved over the tokens of a text.

    To the convolved query of a head the mean of its query and its key before the convolutions is
    added, to a key the mean of that over its query heads. Both are divided by their length and
    multiplied by C**0.5, keys by a learnt number as well. Of the channels of all values the second
    half is a projection of the token before.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.qk_conv is not None
        self.spec = spec
        D, H, G, C = spec.D, spec.H, spec.G, spec.C
        make = dict(dtype=dtype, rngs=rngs)

        def projection(heads: int) -> Linear:
            bias, letter = (heads, C) if spec.qkv_bias else None, "h" if heads == H else "g"
            return Linear(f"btd,d{letter}c->bt{letter}c", (D, heads, C), bias=bias, **make)

        def half() -> Linear:
            width = G * C // 2
            bias = (width,) if spec.qkv_bias else None
            return Linear("btd,dz->btz", (D, width), bias=bias, **make)

        self.q, self.k = projection(H), projection(G)
        self.value_now, self.value_before = half(), half()
        taps = (spec.qk_conv.taps, spec.qk_conv.head_taps)
        self.q_conv = HeadConvolutions(H, C, *taps, "h", **make)
        self.k_conv = HeadConvolutions(G, C, *taps, "g", **make)
        self.k_scale = parameter(jnp.ones((G,), dtype), "g")
        out_bias = (D,) if spec.out_bias else None
        self.o = Linear("bthc,hcd->btd", (H, C, D), bias=out_bias, **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        q_BTHC, k_BTGC = self._queries_keys(x_BTD, geometry)
        v_BTGC = self._values(x_BTD, geometry)
        turn = turn_of(self.spec, geometry, facts)
        return self.o(attend(q_BTHC, k_BTGC, v_BTGC, geometry, facts, turn=turn), geometry)

    def _queries_keys(self, x_BTD: jax.Array, geometry: Geometry) -> tuple[jax.Array, jax.Array]:
        q_BTHC, k_BTGC = self.q(x_BTD, geometry), self.k(x_BTD, geometry)
        (B, T, H, C), G = q_BTHC.shape, k_BTGC.shape[2]
        mean_BTGRC = (q_BTHC.reshape(B, T, G, H // G, C) + k_BTGC[:, :, :, None]) * 0.5
        q_BTHC = self.q_conv(q_BTHC, geometry.position_BT) + mean_BTGRC.reshape(q_BTHC.shape)
        k_BTGC = self.k_conv(k_BTGC, geometry.position_BT) + mean_BTGRC.mean(3)
        scale_G1 = self.k_scale[...].astype(k_BTGC.dtype)[:, None]
        return _of_length_sqrt(q_BTHC), _of_length_sqrt(k_BTGC) * scale_G1

    def _values(self, x_BTD: jax.Array, geometry: Geometry) -> jax.Array:
        spec = self.spec
        later_BTZ = self.value_before(x_BTD, geometry)
        bias = self.value_before.bias  # what the projection makes of the zeros before a text
        before = 0 if bias is None else bias[...].astype(later_BTZ.dtype)
        shifted_BTZ = jnp.pad(later_BTZ[:, :-1], ((0, 0), (1, 0), (0, 0)))
        shifted_BTZ = jnp.where((geometry.position_BT > 0)[..., None], shifted_BTZ, before)
        v_BTX = jnp.concatenate([self.value_now(x_BTD, geometry), shifted_BTZ], axis=-1)
        return v_BTX.reshape(*v_BTX.shape[:2], spec.G, spec.C)


def _of_length_sqrt(x_BTHC: jax.Array) -> jax.Array:
    """Heads divided by their length and multiplied by the square root of their channels."""
    x = x_BTHC.astype(jnp.float32)
    length = jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))
    scaled = x * (x.shape[-1] ** 0.5 / jnp.maximum(length, jnp.finfo(jnp.float32).eps))
    return scaled.astype(x_BTHC.dtype)
