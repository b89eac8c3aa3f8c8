"""Normalisation layers. Their statistics are float32 whatever the activations' dtype."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers.linear import Linear, parameter


def _rms(x: jax.Array, eps: float) -> jax.Array:
    """Root mean square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def _layer(x: jax.Array, eps: float) -> jax.Array:
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450)."""
    return _rms(x - jnp.mean(x, axis=-1, keepdims=True), eps)


NORMS = {"rms": _rms, "layer": _layer}


class Norm(nnx.Module):
    """Normalisation over the last axis, then a scale and a shift where the model has them.

    Args:
      kind: a key of NORMS.
      shape: the shape of scale and bias: (D,), or (H, C) for one norm per head.
      eps: added to the mean square or the variance.
      offset: added to the stored scale.
      letters: the letters of the axes of scale and bias, see `linear.parameter`.
    """

    def __init__(
        self,
        kind: str,
        shape: tuple[int, ...],
        *,
        eps: float,
        scale: bool = True,
        bias: bool = False,
        offset: float = 0.0,
        letters: str = "",
        dtype,
    ):
        self.kind = kind
        self.eps = eps
        self.offset = offset
        self.scale = parameter(jnp.full(shape, 1 - offset, dtype), letters) if scale else None
        self.bias = parameter(jnp.zeros(shape, dtype), letters) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = NORMS[self.kind](x.astype(jnp.float32), self.eps)
        if self.scale is not None:
            y = y * (self.scale[...].astype(jnp.float32) + self.offset)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


class GatedNorm(nnx.Module):
    """y sigmoid(up(silu(down(y)))), where y is the normalised input and down has `rank` outputs."""

    def __init__(self, norm: Norm, width: int, rank: int, *, dtype, rngs: nnx.Rngs):
        make = dict(dtype=dtype, rngs=rngs)
        self.norm = norm
        self.down = Linear("btd,dz->btz", (width, rank), **make)
        self.up = Linear("btz,zd->btd", (rank, width), **make)

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        y_BTD = self.norm(x_BTD)
        gate_BTD = self.up(jax.nn.silu(self.down(y_BTD))).astype(jnp.float32)
        return (y_BTD * jax.nn.sigmoid(gate_BTD)).astype(y_BTD.dtype)
