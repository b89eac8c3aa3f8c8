"""The numbers of a GGUF tensor: its blocks, decoded by the gguf package a part at a time."""

from __future__ import annotations

import math

import numpy as np

from jaxmap.checkpoint.formats.base import fill
from jaxmap.checkpoint.gguf.header import TensorInfo
from jaxmap.checkpoint.memory import own_pages
from jaxmap.errors import InputError
from jaxmap.model.encodings.numbers import NUMBERS

_PLAIN = ("F64", "F32", "F16", "BF16")  # numbers as they are
_PART = 1 << 22  # numbers decoded at a time: the package takes several arrays of this size


def dtype_of(info: TensorInfo, name: str) -> np.dtype:
    """What a tensor is decoded to: floats as they are stored, codes float32.

    InputError for whole numbers, and for a type that the gguf package does not decode.
    """
    if info.kind in _PLAIN:
        return np.dtype(NUMBERS[info.kind])
    from gguf import GGMLQuantizationType, quants

    if GGMLQuantizationType[info.kind] not in quants._type_traits:
        raise InputError(
            f"{info.file}: tensor {name} is stored as {info.kind}, which the gguf package does not "
            "decode"
        )
    return np.dtype(np.float32)


def read_floats(info: TensorInfo, name: str, at: int = 0, axes: int = 0) -> np.ndarray:
    """A tensor in memory, or one entry of its first axes.

    Args:
      info, name: the tensor, and what it is called.
      at: which entry of the first `axes` axes taken as one.
      axes: how many of them are left out of the result's shape.
    """
    dtype, shape = dtype_of(info, name), info.shape[axes:]
    parts = math.prod(info.shape[:axes])
    size = info.num_bytes // parts
    into = own_pages(shape, dtype)
    if info.kind in _PLAIN:
        fill(into, info.file, info.start + at * size, name)
        return into
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    kind = GGMLQuantizationType[info.kind]
    numbers, bytes_ = GGML_QUANT_SIZES[kind]
    blocks = into.reshape(-1, numbers)
    step = max(1, _PART // numbers)
    for start in range(0, len(blocks), step):
        some = blocks[start : start + step]
        raw = np.empty((len(some), bytes_), np.uint8)
        fill(raw, info.file, info.start + at * size + start * bytes_, name)
        with np.errstate(all="ignore"):  # what is not finite is refused where it is loaded
            some[...] = quants.dequantize(raw, kind)
    return into
