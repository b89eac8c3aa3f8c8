"""The one way in which activations meet weights."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


def contract(equation: str, a: jax.Array, b: jax.Array, *, out_dtype=None) -> jax.Array:
    """Einsum of two arrays of one dtype, accumulated in float32 and rounded once to `out_dtype`.

    float32 operands are multiplied as float32 on every backend: the defaults of GPUs (TF32) and
    TPUs (bfloat16) lose 13 to 16 of the 24 bits of the mantissa.
    """
    precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    y = jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)
    return y.astype(out_dtype or a.dtype)


class Linear(nnx.Module):
    """A named kernel; the equation is its documentation: "btd,dhc->bthc"."""

    def __init__(
        self,
        equation: str,
        shape: Sequence[int],
        *,
        bias: Sequence[int] | None = None,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.equation = equation
        self.kernel = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), tuple(shape), dtype))
        self.bias = None if bias is None else nnx.Param(jnp.zeros(tuple(bias), dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = contract(self.equation, x, self.kernel[...], out_dtype=jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)
