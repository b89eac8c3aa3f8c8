"""What a matrix in codes means: facts alone, without JAX.

O is output features, I input features, Z groups of inputs.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import ml_dtypes  # noqa: F401 so that NumPy knows its dtypes by name
import numpy as np

OUTLIER = 6.0  # activations of this magnitude or more keep their column out of LLM.int8's 8 bit


class Array(NamedTuple):
    """Shape and dtype of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Grouping:
    """(table[code] - zero) scale, with scales by rows and groups of inputs.

    That is what GPTQ, AWQ, compressed-tensors, 8- and 4-bit floats and bitsandbytes' nf4 and fp4
    come down to once their parts are laid out alike.

    Fields:
      shape: (O, I).
      code: dtype of the codes; "uint4": two a byte, the low half first.
      groups: Z; each has I / Z inputs one after another, unless `indexed`.
      scale: dtype of the scales, [O, Z].
      zero: whether there are zeros, int16 [O, Z].
      indexed: whether int32 [I] says which group an input is in.
      table: the value of each code; (): the code itself.
      rounded: dtype to which the product is rounded; "": none.
    """

    shape: tuple[int, int]
    code: str
    groups: int
    scale: str = "float32"
    zero: bool = False
    indexed: bool = False
    table: tuple[float, ...] = ()
    rounded: str = ""

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that it takes, by name."""
        rows, inputs = self.shape
        codes = Array((rows, inputs), np.dtype("uint8" if self.code == "uint4" else self.code))
        if self.code == "uint4":
            codes = codes._replace(shape=(rows, -(-inputs // 2)))
        found = {"codes": codes, "scale": Array((rows, self.groups), np.dtype(self.scale))}
        if self.zero:
            found["zero"] = Array((rows, self.groups), np.dtype(np.int16))
        if self.indexed:
            found["index"] = Array((inputs,), np.dtype(np.int32))
        return found


@dataclasses.dataclass(frozen=True)
class Int8Rows:
    """int8 codes and the largest magnitude of each row, which stands for 127: LLM.int8(), whose
    activations are quantised too."""

    shape: tuple[int, int]

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that it takes, by name."""
        return {
            "weight": Array(self.shape, np.dtype(np.int8)),
            "absmax": Array(self.shape[:1], np.dtype(np.float32)),
        }


def packed_halves(codes: np.ndarray) -> np.ndarray:
    """Codes below 16, uint8 [O, I], two a byte, the low half first."""
    if codes.shape[1] % 2:
        codes = np.pad(codes, [(0, 0), (0, 1)])
    return codes[:, 0::2] | (codes[:, 1::2] << 4)
