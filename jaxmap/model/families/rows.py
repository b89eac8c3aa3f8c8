"""Where a parameter stands in a checkpoint, and in which layout.

A layout is an einops pattern over the alphabet of `Spec`, read from the stored tensor to the
parameter: "(h c) d -> d h c". It is the documentation of a fused tensor too: GPT-NeoX stores
"(h p c) d" and GPT-2 "d (p h c)", where p counts the parts (query, key, value).
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from einops import rearrange

from jaxmap.model.spec import Spec


@dataclasses.dataclass(frozen=True)
class Row:
    """One parameter's place.

    Fields:
      name: the stored tensor, with {l} for the layer.
      layout: einops pattern from the stored tensor to the parameter of one layer; "": as it is.
      part: (i, n) where the stored tensor fuses n parts of which this is the i-th: the layout then
        gives a leading axis p.
      other_names: further names under which it is found.
    """

    name: str
    layout: str = ""
    part: tuple[int, int] | None = None
    other_names: tuple[str, ...] = ()

    def _sizes(self, spec: Spec) -> dict[str, int]:
        sizes = {letter.lower(): getattr(spec, letter) for letter in "DHGCFV"}
        if self.part:
            sizes["p"] = self.part[1]
        return {k: v for k, v in sizes.items() if re.search(rf"\b{k}\b", self.layout)}

    def stored_shape(self, spec: Spec, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the stored tensor must have for a parameter of `shape`."""
        if not self.layout:
            return shape
        sizes, stored = self._sizes(spec), []
        for axis in re.findall(r"\([^)]*\)|\w+", self.layout.split("->")[0]):
            stored.append(int(np.prod([sizes[a] for a in axis.strip("()").split()])))
        return tuple(stored)

    def read(self, stored: np.ndarray, spec: Spec) -> np.ndarray:
        """The parameter of one layer, a view of the stored tensor where it can be."""
        if not self.layout:
            return stored
        x = rearrange(stored, self.layout, **self._sizes(spec))
        return x if self.part is None else x[self.part[0]]

    def write(self, parts: list[np.ndarray], spec: Spec) -> np.ndarray:
        """The stored tensor from a parameter, or from all its parts in order: `read` backwards."""
        if not self.layout:
            return parts[0]
        source, target = (side.strip() for side in self.layout.split("->"))
        x = np.stack(parts) if self.part else parts[0]
        return rearrange(x, f"{target} -> {source}", **self._sizes(spec))


# Layouts of torch's Linear, which stores (out, in).
QUERY, QUERY_BIAS = "(h c) d -> d h c", "(h c) -> h c"
KEY_VALUE, KEY_VALUE_BIAS = "(g c) d -> d g c", "(g c) -> g c"
OUT = "d (h c) -> h c d"
UP, DOWN = "f d -> d f", "d f -> f d"


def linear(path: str, name: str, layout: str) -> dict[str, Row]:
    """Kernel and bias of one Linear."""
    return {f"{path}/kernel": Row(f"{name}.weight", layout), f"{path}/bias": Row(f"{name}.bias")}


def norm(path: str, name: str) -> dict[str, Row]:
    """Scale and bias of one norm."""
    return {f"{path}/scale": Row(f"{name}.weight"), f"{path}/bias": Row(f"{name}.bias")}


def split_qkv(name: str) -> dict[str, Row]:
    """Query, key and value as three Linears `{name}.q_proj`, `k_proj`, `v_proj`."""
    rows = {}
    for letter in "qkv":
        kernel, bias = (QUERY, QUERY_BIAS) if letter == "q" else (KEY_VALUE, KEY_VALUE_BIAS)
        rows[f"blocks/attn/{letter}/kernel"] = Row(f"{name}.{letter}_proj.weight", kernel)
        rows[f"blocks/attn/{letter}/bias"] = Row(f"{name}.{letter}_proj.bias", bias)
    return rows


def fused_qkv(name: str, kernel: str, bias: str) -> dict[str, Row]:
    """Query, key and value in one tensor; both layouts give a leading axis p of three."""
    rows = {}
    for i, letter in enumerate("qkv"):
        rows[f"blocks/attn/{letter}/kernel"] = Row(f"{name}.weight", kernel, (i, 3))
        rows[f"blocks/attn/{letter}/bias"] = Row(f"{name}.bias", bias, (i, 3))
    return rows
