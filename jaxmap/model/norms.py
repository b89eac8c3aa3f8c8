"""Normalisation layers; statistics in float32 whatever the activations' dtype."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx


def _rms(x: jax.Array, eps: float) -> jax.Array:
    """Root mean square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def _layer(x: jax.Array, eps: float) -> jax.Array:
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450)."""
    return _rms(x - jnp.mean(x, axis=-1, keepdims=True), eps)


NORMS = {"rms": _rms, "layer": _layer}


class Norm(nnx.Module):
    """x_..D -> x_..D: normalised over D, then scaled and, where the family does, shifted."""

    def __init__(self, kind: str, width: int, *, eps: float, bias: bool, dtype):
        self.kind = kind
        self.eps = eps
        self.scale = nnx.Param(jnp.ones((width,), dtype))
        self.bias = nnx.Param(jnp.zeros((width,), dtype)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = NORMS[self.kind](x.astype(jnp.float32), self.eps)
        y = y * self.scale[...].astype(jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)
