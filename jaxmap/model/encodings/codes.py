"""The meaning of a matrix in codes: facts alone, without JAX.

O is output features, I input features, Z groups of inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
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


class BlockType(NamedTuple):
    """One of ggml's types: how many numbers a block has, its bytes, and which are scales.

    Fields:
      numbers, num_bytes: of a block.
      halves: the bytes at which the block's float16 scales begin.
    """

    numbers: int
    num_bytes: int
    halves: tuple[int, ...] = ()


# The types of block that a device can hold (`blocks.DECODERS` has what they mean), and floats,
# which are in the same file for some layers.
BLOCK_TYPES: dict[str, BlockType] = {
    "F32": BlockType(1, 4),
    "F16": BlockType(1, 2),
    "BF16": BlockType(1, 2),
    "Q8_0": BlockType(32, 34, (0,)),
    "Q4_0": BlockType(32, 18, (0,)),
    "Q4_1": BlockType(32, 20, (0, 2)),
    "Q5_0": BlockType(32, 22, (0,)),
    "Q5_1": BlockType(32, 24, (0, 2)),
    "Q2_K": BlockType(256, 84, (80, 82)),
    "Q3_K": BlockType(256, 110, (108,)),
    "Q4_K": BlockType(256, 144, (0, 2)),
    "Q5_K": BlockType(256, 176, (0, 2)),
    "Q6_K": BlockType(256, 210, (208,)),
    "IQ4_NL": BlockType(32, 18, (0,)),
    "IQ4_XS": BlockType(256, 136, (0,)),
    "MXFP4": BlockType(32, 17),
}
KINDS = tuple(BLOCK_TYPES)  # a tensor's type is stored as its index
FLOAT_KINDS = frozenset({"F32", "F16", "BF16"})


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The blocks of a GGUF file, whose rows are whole blocks.

    Where the layers of one stack are stored in several types, their rows are as long as those of
    the widest type, and each layer says which type it is.

    Fields:
      shape: (O, I).
      kinds: the names of the types, keys of BLOCK_TYPES.
    """

    shape: tuple[int, int]
    kinds: tuple[str, ...]

    def row_bytes(self, kind: str) -> int:
        """The bytes of a row in one of the types."""
        one = BLOCK_TYPES[kind]
        return self.shape[1] // one.numbers * one.num_bytes

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that it takes, by name: blocks, and the index in `kinds` if it has several."""
        width = max(map(self.row_bytes, self.kinds))
        found = {"blocks": Array((self.shape[0], width), np.dtype(np.uint8))}
        if len(self.kinds) > 1:
            found["kind"] = Array((), np.dtype(np.int32))
        return found

    def in_memory(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of one tensor, {"blocks", "kind": its index in KINDS}, as `arrays` says."""
        width = self.arrays["blocks"].shape[1]
        blocks = arrays["blocks"]
        if blocks.shape[1] < width:
            blocks = np.pad(blocks, [(0, 0), (0, width - blocks.shape[1])])
        found = {"blocks": blocks}
        if len(self.kinds) > 1:
            found["kind"] = np.asarray(self.kinds.index(KINDS[int(arrays["kind"])]), np.int32)
        return found

    @classmethod
    def joined(cls, several: Collection[Blocks]) -> Blocks | None:
        """One meaning for the layers of a stack; None for other shapes, and for floats alone."""
        kinds = {kind for one in several for kind in one.kinds}
        if len({one.shape for one in several}) > 1 or kinds <= FLOAT_KINDS:
            return None
        return cls(next(iter(several)).shape, tuple(sorted(kinds)))


Meaning = Grouping | Int8Rows | Blocks


def packed_halves(codes: np.ndarray) -> np.ndarray:
    """Codes below 16, uint8 [O, I], two a byte, the low half first."""
    if codes.shape[1] % 2:
        codes = np.pad(codes, [(0, 0), (0, 1)])
    return codes[:, 0::2] | (codes[:, 1::2] << 4)
