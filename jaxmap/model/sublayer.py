"""The base class of mixers and MLPs, with the features that each declares to support."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec


class Sublayer(nnx.Module):
    """A mixer or an MLP: (x_BTD, geometry, facts) -> x_BTD, made as cls(spec, kind, dtype=, rngs=).

    A mixer combines tokens of the same text. An MLP computes each token by itself, except RWKV's
    channel mixing, which reads the token before as well.

    Class attributes, which a subclass sets to what it supports:
      quantisable: its kernels are used only by calling its Linear layers, so that layers with
        8-bit or 4-bit weights can replace them.
      pads_heads: additional heads of zeros do not change its output, so that heads can be padded
        to a multiple of a mesh's "model" axis.
      pads_width: likewise for zeros in its inner width F.
    """

    quantisable: ClassVar[bool] = False
    pads_heads: ClassVar[bool] = False
    pads_width: ClassVar[bool] = False

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        raise NotImplementedError
