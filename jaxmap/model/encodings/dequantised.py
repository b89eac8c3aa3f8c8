"""A linear layer whose weights stay in codes and are decoded when they are multiplied."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers.linear import contract
from jaxmap.model.layout import Layout
from jaxmap.model.mesh import laid_out
from jaxmap.model.padded_axis import PaddedAxis


class Codes(Protocol):
    """A stored tensor in codes; `letters` are those of what it is when it is made floats."""

    letters: str

    def __call__(self) -> jax.Array:
        """The tensor, float32 (out, in)."""


class DequantisedLinear(nnx.Module):
    """A `Linear` whose weights are dequantised and rounded to the activations' dtype.

    Fields:
      weights: the stored tensor; layers that were fused in the file share it.
      layout: the position of the kernel in the stored tensor.
      shape: the kernel's shape.
      inputs_first: whether the stored tensor was transposed before it was quantised.
      extents: how each axis of the kernel is padded for a mesh; empty: not at all.
    """

    def __init__(
        self,
        equation: str,
        weights: Codes,
        layout: Layout,
        shape: tuple[int, ...],
        *,
        inputs_first: bool,
        bias: nnx.Param | None,
        extents: tuple[PaddedAxis, ...] = (),
    ):
        self.equation = equation
        self.weights = weights
        self.layout = layout
        self.shape = shape
        self.inputs_first = inputs_first
        self.bias = bias
        self.extents = extents

    def __call__(self, x: jax.Array, where: object = None) -> jax.Array:
        # Sharded like the codes before this line, like a kernel after it: devices exchange the
        # dequantised kernel if its inputs are sharded, and nothing if its rows are.
        stored = laid_out(self.weights().astype(x.dtype), self.weights.letters)
        kernel = self.layout.read(stored.T if self.inputs_first else stored, self.shape)
        for axis, extent in enumerate(self.extents):
            kernel = extent.pad(kernel, axis)
        kernel = laid_out(kernel, self.equation.replace("->", ",").split(",")[1])
        y = contract(self.equation, x, kernel, out_dtype=jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)
