"""What the encodings of weights have in common: numbers as a file holds them, or a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
from flax import nnx

from jaxmap.model.extent import Extent
from jaxmap.model.layers.linear import Linear
from jaxmap.model.layout import Layout


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The kernel of one `Linear` of a decoder, with what an encoding must know of it.

    Fields:
      name: of the stored tensor, for messages.
      linear: the layer.
      layout: how the kernel lies in the stored tensor.
      stacked: whether it has a leading axis of layers.
      shape, inputs: of the kernel of one layer; how many of its axes, the first, are inputs.
      extents: how a mesh holds these axes.
    """

    name: str
    linear: Linear
    layout: Layout
    stacked: bool
    shape: tuple[int, ...]
    inputs: int
    extents: tuple[Extent, ...]

    @property
    def held(self) -> jax.Array:
        """The kernel, with a leading axis of layers in any case."""
        value = self.linear.kernel[...]
        return value if self.stacked else value[None]

    @property
    def stored(self) -> jax.Array:
        """`held` without what a mesh adds."""
        value = self.held
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
    """An encoding in which linear layers stay on the device, and are made from a float model."""

    @property
    def name(self) -> str: ...

    def linear(self, kernels: Sequence[Kernel]) -> Sequence[nnx.Module]:
        """Layers to put in the place of those whose kernels are stored in one tensor."""

    def experts(self, name: str, linear: Linear) -> nnx.Module:
        """A layer to put in the place of a stack of experts' matrices, [L, E, in, out]."""
