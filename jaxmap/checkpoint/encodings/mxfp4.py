"""MXFP4 (OCP Microscaling Formats, version 1.0): 4-bit floats, 32 of which share a power of two.

gpt-oss stores the matrices of its experts as `NAME_blocks`, uint8 [E, rows, G, 16], the low half of
a byte first, and `NAME_scales`, uint8 [E, rows, G], exponents with a bias of 127. The weight is
[E, 32 G, rows] (transformers, integrations/mxfp4.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import Arrays, Encoding, check_shape, part, weight_of
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.dtypes import NUMBERS

_BFLOAT16 = NUMBERS["BF16"]
# The value of each code: one sign bit, two exponent bits, one mantissa bit.
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def halves(packed: np.ndarray) -> np.ndarray:
    """Unpacks 4-bit floats, low half first: uint8 [..., B] -> float32 [..., 2 B]."""
    pairs = np.stack([E2M1[packed & 15], E2M1[packed >> 4]], axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)


class Mxfp4(Encoding):
    """MXFP4 as gpt-oss stores the matrices of its experts."""

    methods = ("mxfp4",)
    bits = 4

    def __init__(self, facts: Config):
        super().__init__(facts)
        facts.inert("dequantize", "modules_to_not_convert", "quant_method")

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces the blocks and scales of each matrix by floats, [experts, inputs, outputs]."""
        found = dict(tensors)
        for name, blocks in tensors.items():
            if not name.endswith("_blocks"):
                continue
            weight = name.removesuffix("_blocks")
            scales = part(tensors, f"{weight}_scales", weight, blocks.file)
            if len(blocks.shape) != 4 or blocks.shape[-1] != 16 or blocks.dtype != np.uint8:
                raise InputError(f"{blocks.file}: {name} is not uint8 [experts, rows, groups, 16]")
            check_shape(scales, f"{weight}_scales", blocks.shape[:-1])
            experts, rows, groups, _ = blocks.shape
            del found[name], found[f"{weight}_scales"]
            shape = (experts, groups * 32, rows)
            parts = {"blocks": blocks, "scales": scales}
            # Two bits of mantissa at most, and the exponents of bfloat16: nothing is lost.
            found[weight] = weight_of(weight, parts, shape, _decode, "MXFP4", _BFLOAT16)
        return found


def _decode(parts: Arrays) -> np.ndarray:
    blocks, scales = parts["blocks"], parts["scales"]
    experts, rows, groups, _ = blocks.shape
    weight = np.empty((experts, groups * 32, rows), _BFLOAT16)
    exponents = np.where(scales == 255, np.nan, scales.astype(np.float32) - 127)
    with np.errstate(invalid="ignore"):  # 255 stands for NaN, which is refused when it is loaded
        for expert in range(experts):
            values = halves(blocks[expert]) * np.exp2(exponents[expert])[..., None]
            weight[expert] = values.reshape(rows, -1).T
    return weight
