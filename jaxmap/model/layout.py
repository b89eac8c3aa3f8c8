"""The layout of a parameter in a stored tensor: all of it, transposed, or a part of it.

A pattern is an einops pattern over the alphabet of `Spec`, from the stored tensor to the
parameter: "(h c) d -> d h c". It documents fused tensors as well: GPT-NeoX stores "(h p c) d" and
GPT-2 "d (p h c)", where p counts the parts (query, key, value).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from einops import rearrange

Array = Any  # of NumPy or of JAX


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of one layer's parameter in a stored tensor.

    Fields:
      pattern: einops pattern from the stored tensor to the parameter of one layer; "": the same
        shape.
      part: (i, n) if the stored tensor interleaves n parts of equal size and the parameter is part
        i; the pattern then has p as the leading axis of its result.
      cut: (start, stop, rows) if the parameter is rows start to stop - 1 of a stored tensor of
        `rows` rows.
      blocks: (indices, count) if the first axis of the stored tensor consists of `count` blocks of
        equal size and the parameter is these blocks, in this order; the pattern applies to them
        joined.
    """

    pattern: str = ""
    part: tuple[int, int] | None = None
    cut: tuple[int, int, int] | None = None
    blocks: tuple[tuple[int, ...], int] | None = None

    @property
    def letters(self) -> tuple[str, str]:
        """Both sides of the pattern, stored tensor and parameter; ("", "") without a pattern."""
        stored, _, parameter = (side.strip() for side in self.pattern.partition("->"))
        return stored, parameter

    def sizes(self, shape: tuple[int, ...]) -> dict[str, int]:
        """The size of each letter of the pattern, for a parameter of this shape (one layer)."""
        letters = self.letters[1].split()
        return dict(zip(letters, (self.part[1], *shape) if self.part else shape, strict=True))

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the stored tensor must have for a parameter of `shape`."""
        stored = list(shape)
        if self.pattern:
            sizes = {"1": 1, **self.sizes(shape)}
            axes = re.findall(r"\([^)]*\)|\w+", self.letters[0])
            stored = [int(np.prod([sizes[a] for a in axis.strip("()").split()])) for axis in axes]
        if self.blocks:
            stored[0] = stored[0] // len(self.blocks[0]) * self.blocks[1]
        return (self.cut[2], *stored[1:]) if self.cut else tuple(stored)

    def read(self, stored: Array, shape: tuple[int, ...]) -> Array:
        """The parameter of one layer, of this shape; a view of the stored tensor if possible."""
        x = stored[self.cut[0] : self.cut[1]] if self.cut else stored
        if self.blocks:
            which, of = self.blocks
            x = x.reshape(of, -1, *x.shape[1:])[np.array(which)].reshape(-1, *x.shape[1:])
        if not self.pattern:
            return x
        x = rearrange(x, self.pattern, **self.sizes(shape))
        return x if self.part is None else x[self.part[0]]


def joined(layouts: Sequence[Layout], values: Sequence[Array]) -> Array:
    """The stored tensor from all parameters in it, in order: the inverse of `Layout.read`."""
    first, xp = layouts[0], values[0].__array_namespace__()
    order = sorted(range(len(layouts)), key=lambda i: layouts[i].part or layouts[i].cut or 0)

    def turned_back(layout: Layout, value: Array) -> Array:
        stored, parameter = layout.letters
        return rearrange(value, f"{parameter} -> {stored}") if stored else value

    if first.blocks and not first.part and not first.cut:
        blocks: list[Array] = [values[0]] * first.blocks[1]
        for layout, value in zip(layouts, values, strict=True):
            assert layout.blocks
            which, x = layout.blocks[0], turned_back(layout, value)
            for i, block in zip(which, xp.split(x, len(which)), strict=True):
                blocks[i] = block
        return xp.concatenate(blocks)
    if first.part:
        stored, parameter = first.letters
        sizes = first.sizes(values[0].shape)
        return rearrange(xp.stack([values[i] for i in order]), f"{parameter} -> {stored}", **sizes)
    parts = [turned_back(layouts[i], values[i]) for i in order]
    return xp.concatenate(parts) if first.cut else parts[0]
