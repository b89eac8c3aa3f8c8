"""The interface of an encoding: which stored tensors form one weight, and how it is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.formats.base import Coded, Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import Grouping, Int8Rows

Arrays = Mapping[str, np.ndarray]
_FLOAT32 = np.dtype(np.float32)


class Encoding(ABC):
    """An encoding of the weights of linear layers, usually with several tensors per weight.

    Args:
      facts: quantization_config of config.json. Keys that a subclass neither reads nor declares
        inert are refused by name.

    Class attributes:
      methods: the values of `quant_method` that name it.
      approximates: what the quantised copy also rounds and is not reproduced here; "" for nothing.
      bits: the bits of a code of most matrices; None if the settings do not give one number.
    """

    methods: ClassVar[tuple[str, ...]]
    approximates: str = ""
    bits: int | None = None

    def __init__(self, facts: Config):
        self.facts = facts

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.methods[0]

    @abstractmethod
    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """The tensors, with the parts of each weight replaced by one tensor of floats.

        Only parts that decide how to decode are read now. Raises InputError, with file and tensor,
        for parts that are missing or do not fit together.
        """


def weight_of(
    name: str,
    parts: Mapping[str, Stored],
    shape: tuple[int, ...],
    decode: Callable[[Arrays], np.ndarray],
    kind: str,
    dtype: np.dtype = _FLOAT32,
    meaning: Grouping | Int8Rows | None = None,
    pack: Callable[[Arrays], dict[str, np.ndarray]] | None = None,
) -> Stored:
    """A weight that is decoded when it is read.

    Args:
      name: the name of the weight, for messages.
      parts: the stored tensors, by their role.
      shape: the shape of the weight.
      decode: parts -> weight.
      kind: the name of the encoding, for messages.
      dtype: the dtype of the weight: float32, in which every code times its scale is exact, unless
        the encoding itself rounds.
      meaning: what the codes mean that a device can hold instead of floats; None if it cannot.
      pack: parts -> the arrays of `meaning`.
    """
    file = next(iter(parts.values())).file

    def read() -> np.ndarray:
        with np.errstate(all="ignore"):  # weights that are not finite are refused when loaded
            weight = decode({part: stored.read() for part, stored in parts.items()})
        if weight.shape != shape:
            raise InputError(f"{file}: {name} is decoded to {weight.shape}, not {shape}")
        with np.errstate(over="ignore"):  # infinite weights are refused when they are loaded
            return np.ascontiguousarray(weight).astype(dtype, copy=False)

    def codes() -> dict[str, np.ndarray]:
        assert pack is not None
        assert meaning is not None
        with np.errstate(all="ignore"):
            arrays = pack({part: stored.read() for part, stored in parts.items()})
            return {n: np.asarray(arrays[n], like.dtype) for n, like in meaning.arrays.items()}

    coded = None if meaning is None else Coded(meaning, codes)
    return Stored(file, shape, dtype, kind, read, read, tuple(parts.values()), coded)


def part(tensors: Mapping[str, Stored], name: str, weight: str, file: Path) -> Stored:
    """A part of a weight; raises InputError if it is missing."""
    if name not in tensors:
        raise InputError(f"{file}: {weight} lacks its {name}")
    return tensors[name]


def check_shape(stored: Stored, name: str, want: tuple[int, ...]) -> None:
    """Raises InputError if a part does not have the shape that its weight needs."""
    if stored.shape != want:
        raise InputError(
            f"{stored.file}: {name} has shape {list(stored.shape)}, but its weight needs "
            f"{list(want)}"
        )


def unpacked(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpacks integers of `bits` bits from 32-bit words along the last axis, lowest bits first.

    An integer may extend over two words, as with 3 bits.

    Args:
      words: int32 or uint32 [..., W].
      bits: the number of bits of an integer, at most 8.
      count: the number of integers, at most 32 W / bits.

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
