"""What every mixer and MLP is, and what each says that it supports."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from jaxmap.model.spec import Kind, Spec


class Sublayer(nnx.Module):
    """A mixer or an MLP: (x_BTD, geometry, facts) -> x_BTD, made as cls(spec, kind, dtype=, rngs=).

    A mixer sees other tokens of the same text; an MLP, but RWKV's channel mixing, each token alone.

    Class attributes, which a subclass sets to what it supports:
      quantisable: its kernels are used only by calling its Linear layers, so that layers with
        weights in 8 or 4 bit can stand in for them.
      pads_heads: zeros beside its heads leave its output as it is, so that heads can be padded to
        a multiple of a mesh's "model" axis.
      pads_width: likewise zeros in its inner width F.
    """

    quantisable: ClassVar[bool] = False
    pads_heads: ClassVar[bool] = False
    pads_width: ClassVar[bool] = False

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        raise NotImplementedError
