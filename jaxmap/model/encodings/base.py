"""The interface of an encoding that replaces the linear layers of a float model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
from flax import nnx

from jaxmap.model.layers.linear import Linear
from jaxmap.model.layout import Layout
from jaxmap.model.padded_axis import PaddedAxis


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The kernel of one `Linear` of a decoder, with the facts that an encoding needs.

    Fields:
      name: the stored tensor's name, for messages.
      linear: the layer.
      layout: the position of the kernel in the stored tensor.
      stacked: whether the kernel has a leading axis of layers.
      shape: the shape of one layer's kernel, without the padding of a mesh.
      inputs: how many of its leading axes are input features.
      extents: how each axis is padded for a mesh.
    """

    name: str
    linear: Linear
    layout: Layout
    stacked: bool
    shape: tuple[int, ...]
    inputs: int
    extents: tuple[PaddedAxis, ...]

    @property
    def padded(self) -> jax.Array:
        """The kernel as the devices store it; it always gets a leading axis of layers."""
        value = self.linear.kernel[...]
        return value if self.stacked else value[None]

    @property
    def stored(self) -> jax.Array:
        """`padded` without the zeros that a mesh adds."""
        value = self.padded
        for axis, how in enumerate(self.extents, start=1):
            value = how.trim(value, axis)
        return value

    @property
    def inputs_first(self) -> bool:
        """Whether the tensor is stored (in, out), not (out, in) as torch's Linear does."""
        if not self.layout.pattern:
            return True
        stored, parameter = self.layout.letters
        letters = parameter.split()[1 if self.layout.part else 0 :]
        return stored.replace("(", " ").split()[0] in letters[: self.inputs]


class LayerEncoding(Protocol):
    """An encoding that is computed from a float model and stays packed on the device."""

    @property
    def name(self) -> str:
        """Its name, as in the labels of results."""

    def linear(self, kernels: Sequence[Kernel]) -> Sequence[nnx.Module]:
        """The layers that replace those whose kernels are stored in one tensor, in order."""

    def experts(self, name: str, linear: Linear) -> nnx.Module:
        """The layer that replaces a stack of experts' matrices, [L, E, in, out]."""
