"""Learnt scales and shifts of both terms of a sum of the residual stream (ZAYA1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers.linear import parameter


class ResidualAffine(nnx.Module):
    """(x_BTD, y_BTD) -> both, each as scale (x + shift): the stream and a branch, to be added."""

    def __init__(self, D: int, *, dtype):
        def made(value: float) -> nnx.Param:
            return parameter(jnp.full((D,), value, dtype), "d")

        self.stream_scale, self.stream_shift = made(1), made(0)
        self.branch_scale, self.branch_shift = made(1), made(0)

    def __call__(self, x_BTD: jax.Array, y_BTD: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (
            shifted(x_BTD, self.stream_scale, self.stream_shift),
            shifted(y_BTD, self.branch_scale, self.branch_shift),
        )


def shifted(x_BTD: jax.Array, scale_D: nnx.Param, shift_D: nnx.Param) -> jax.Array:
    """scale (x + shift), in the dtype of x_BTD."""
    return (x_BTD + shift_D[...].astype(x_BTD.dtype)) * scale_D[...].astype(x_BTD.dtype)
