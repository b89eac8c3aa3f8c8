"""Layers whose weights stay in codes of a few bits that share a scale by rows and groups.

What the codes mean: `jaxmap.model.encodings.codes`. O is output features, I input features, Z
groups of inputs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.encodings.codes import Grouping
from jaxmap.model.layers.linear import parameter


def floats(
    meaning: Grouping,
    codes: jax.Array,
    scale: jax.Array,
    zero: jax.Array | None = None,
    index: jax.Array | None = None,
) -> jax.Array:
    """The weights that arrays in codes stand for, float32 [O, I]."""
    (O, I), Z = meaning.shape, meaning.groups  # noqa: E741 output and input features
    if meaning.code == "uint4":
        codes = jnp.stack([codes & 15, codes >> 4], axis=-1).reshape(O, -1)[:, :I]
    value = jnp.asarray(meaning.table, jnp.float32)[codes] if meaning.table else codes
    value = value.astype(jnp.float32)

    def spread(of_groups: jax.Array) -> jax.Array:
        x_OZ = of_groups.astype(jnp.float32)
        if index is not None:
            return x_OZ[:, index]
        return jnp.broadcast_to(x_OZ[..., None], (O, Z, I // Z)).reshape(O, I)

    if zero is not None:
        value = value - spread(zero)
    value = value * spread(scale)
    if meaning.rounded:
        # Not for XLA to take away as a pair of conversions.
        half = jax.lax.optimization_barrier(value.astype(meaning.rounded))
        value = half.astype(jnp.float32)
    return value


class Grouped(nnx.Module):
    """A stored tensor (out, in) in codes; its arrays have a leading axis of layers outside the
    scan over them."""

    letters = "o "

    def __init__(self, meaning: Grouping, arrays: dict[str, jax.Array]):
        self.meaning = meaning
        self.codes = parameter(arrays["codes"], "o ")
        self.scale = parameter(arrays["scale"], "o ")
        self.zero = parameter(arrays["zero"], "o ") if meaning.zero else None
        self.index = parameter(arrays["index"], " ") if meaning.indexed else None

    def __call__(self) -> jax.Array:
        """The tensor, float32."""
        zero, index = (None if one is None else one[...] for one in (self.zero, self.index))
        return floats(self.meaning, self.codes[...], self.scale[...], zero, index)


class GroupedExperts(nnx.Module):
    """A stack of kernels in codes, one an expert, which is made floats alone.

    The arrays are those of `Grouped` with a leading axis of experts.
    """

    def __init__(
        self,
        equation: str,
        meaning: Grouping,
        arrays: dict[str, jax.Array],
        bias: nnx.Param | None,
    ):
        self.equation = equation
        self.meaning = meaning
        self.codes = parameter(arrays["codes"], "x  ")
        self.scale = parameter(arrays["scale"], "x  ")
        self.zero = parameter(arrays["zero"], "x  ") if meaning.zero else None
        self.index = parameter(arrays["index"], "x ") if meaning.indexed else None
        self.bias = bias

    @property
    def stacked(self) -> int:
        """How many experts."""
        return self.codes.shape[0]

    def one(self, i: jax.Array | int) -> jax.Array:
        """The kernel of an expert, float32 (in, out)."""
        zero, index = (None if one is None else one[...][i] for one in (self.zero, self.index))
        return floats(self.meaning, self.codes[...][i], self.scale[...][i], zero, index).T
