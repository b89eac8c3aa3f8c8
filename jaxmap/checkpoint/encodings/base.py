"""What an encoding has to say: which stored tensors are one weight, and how that is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError

Arrays = Mapping[str, np.ndarray]
_FLOAT32 = np.dtype(np.float32)


class Encoding(ABC):
    """One way in which releases store the numbers of linear layers, several tensors a weight.

    Args:
      facts: quantization_config of config.json. What a subclass does not read or declare inert is
        refused by name.

    Class attributes:
      methods: its names, `quant_method`.
      approximates: what the copy also does that reading its weights leaves out; "" for nothing.
      bits: of a code of most matrices; None where the settings do not say one number.
    """

    methods: ClassVar[tuple[str, ...]]
    approximates: str = ""
    bits: int | None = None

    def __init__(self, facts: Config):
        self.facts = facts

    @property
    def label(self) -> str:
        """What a table calls it."""
        return self.methods[0]

    @abstractmethod
    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """The tensors with each weight's parts in one of floats, under the weight's name.

        Nothing is read but what decides how to read. Raises InputError that names file and tensor
        for parts that are missing or do not fit together.
        """


def weight_of(
    name: str,
    parts: Mapping[str, Stored],
    shape: tuple[int, ...],
    decode: Callable[[Arrays], np.ndarray],
    kind: str,
    dtype: np.dtype = _FLOAT32,
) -> Stored:
    """A weight that is decoded when it is read.

    Args:
      name: of the weight, for messages.
      parts: the stored tensors, by what they are.
      shape: of the weight.
      decode: parts -> weight.
      kind: of the encoding, for messages.
      dtype: of the weight; float32, which every code times its scale fits, unless the encoding
        itself rounds.
    """
    file = next(iter(parts.values())).file

    def read() -> np.ndarray:
        weight = decode({part: stored.read() for part, stored in parts.items()})
        if weight.shape != shape:
            raise InputError(f"{file}: {name} is decoded to {weight.shape}, not {shape}")
        with np.errstate(over="ignore"):  # what is infinite is refused where it is loaded
            return np.ascontiguousarray(weight).astype(dtype, copy=False)

    return Stored(file, shape, dtype, kind, read, read, tuple(parts.values()))


def part(tensors: Mapping[str, Stored], name: str, weight: str, file: Path) -> Stored:
    """A part that a weight needs."""
    if name not in tensors:
        raise InputError(f"{file}: {weight} lacks its {name}")
    return tensors[name]


def check_shape(stored: Stored, name: str, want: tuple[int, ...]) -> None:
    """InputError where a part has another shape than the weight asks for."""
    if stored.shape != want:
        raise InputError(
            f"{stored.file}: {name} has shape {list(stored.shape)}, but its weight makes it "
            f"{list(want)}"
        )


def unpacked(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Whole numbers of `bits` bits from 32-bit words along the last axis, lowest bits first.

    Numbers run on over the borders of words, as with 3 bits.

    Args:
      words: int32 or uint32 [..., W].
      count: how many numbers, at most 32 W / bits.

    Returns uint8 [..., count].
    """
    little = np.ascontiguousarray(words).view(np.uint32).astype("<u4", copy=False)
    packed = little.view(np.uint8).reshape(*words.shape[:-1], -1)
    if bits == 8:
        return packed[..., :count]
    if bits == 4:
        pairs = np.stack([packed & 15, packed >> 4], axis=-1)
        return pairs.reshape(*words.shape[:-1], -1)[..., :count]
    digits = np.unpackbits(packed, axis=-1, bitorder="little")[..., : count * bits]
    weights = (1 << np.arange(bits)).astype(np.uint8)
    return (digits.reshape(*words.shape[:-1], count, bits) * weights).sum(-1, dtype=np.uint8)
