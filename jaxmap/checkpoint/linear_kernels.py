"""The kernels of a decoder's linear layers as an encoding must know them."""

from __future__ import annotations

from jaxmap.model.encodings.base import Kernel
from jaxmap.model.layers.linear import Linear
from jaxmap.model.layout import Layout
from jaxmap.model.padded_axis import padded_axis
from jaxmap.model.spec import Spec


def kernel_of(
    linear: Linear,
    name: str,
    layout: Layout,
    shape: tuple[int, ...],
    specs: tuple[Spec, Spec],
    *,
    stacked: bool,
) -> Kernel:
    """The kernel of a linear layer.

    Args:
      linear: the layer.
      name, layout: of the stored tensor, and how the kernel lies in it.
      shape: of the checkpoint's parameter.
      specs: of the checkpoint, and padded for a mesh.
      stacked: whether the parameter has a leading axis of layers.
    """
    padded = linear.kernel.shape[1:] if stacked else linear.kernel.shape
    own = shape[1:] if stacked else shape
    _, kernel_axes, output_axes = linear.equation.replace("->", ",").split(",")
    inputs = sum(axis not in output_axes for axis in kernel_axes)
    assert not set(kernel_axes[:inputs]) & set(output_axes), linear.equation
    extents = tuple(
        padded_axis(letter, size, padded_size, *specs)
        for letter, size, padded_size in zip(kernel_axes, own, padded, strict=True)
    )
    return Kernel(name, linear, layout, stacked, own, inputs, extents)
