"""The numbers of a GGUF tensor: its blocks, decoded by the gguf package a part at a time."""

from __future__ import annotations

import math

import numpy as np

from jaxmap.checkpoint.formats.base import Stored, fill
from jaxmap.checkpoint.gguf.header import TensorInfo
from jaxmap.checkpoint.host_memory import own_pages
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import BLOCK_TYPES, FLOAT_KINDS
from jaxmap.model.encodings.dtypes import NUMBERS

# Codes whose numbers all are bfloat16 ones (three bits and a power of two).
_SHORT = ("MXFP4",)
_PLAIN = ("F64", "F32", "F16", "BF16")  # numbers as they are
_MXFP4 = 252  # the largest power of two, plus 128, by which its numbers are finite
_PART = 1 << 22  # numbers decoded at a time: the package takes several arrays of this size


def dtype_of(info: TensorInfo, name: str) -> np.dtype:
    """The dtype to which a tensor is decoded: floats as they are stored, codes float32.

    The numbers of MXFP4 are bfloat16 ones, and are decoded to these. Raises InputError for whole
    numbers, and for a type that the gguf package does not decode.
    """
    if info.kind in _PLAIN:
        return np.dtype(NUMBERS[info.kind])
    from gguf import GGMLQuantizationType, quants

    if GGMLQuantizationType[info.kind] not in quants._type_traits:
        raise InputError(
            f"{info.file}: tensor {name} is stored as {info.kind}, which the gguf package does not "
            "decode"
        )
    return np.dtype(NUMBERS["BF16"] if info.kind in _SHORT else np.float32)


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


def read_blocks(info: TensorInfo, name: str, at: int = 0, axes: int = 0) -> np.ndarray:
    """A matrix in blocks, or one of a stack: uint8 [rows, bytes of a row]; arguments as above.

    Raises InputError for scales, or floats, that are not finite.
    """
    rows = info.shape[axes]
    size = info.num_bytes // math.prod(info.shape[:axes])
    blocks = np.empty((rows, size // rows), np.uint8)
    fill(blocks, info.file, info.start + at * size, name)
    kind = BLOCK_TYPES[info.kind]
    if info.kind in FLOAT_KINDS:
        scales = [blocks.view(NUMBERS[info.kind])]
    else:
        each = blocks.reshape(-1, kind.num_bytes)
        scales = [each[:, i : i + 2].copy().view(np.float16) for i in kind.halves]
    too_large = info.kind == "MXFP4" and (blocks.reshape(-1, kind.num_bytes)[:, 0] > _MXFP4).any()
    if too_large or not all(np.isfinite(one.astype(np.float32)).all() for one in scales):
        raise InputError(f"{info.file}: NaN or infinite weights in {name}")
    return blocks


def raw(info: TensorInfo, size: int) -> Stored:
    """The bytes that a tensor takes up in the file."""
    kind = np.dtype(np.uint8)

    def read() -> np.ndarray:
        content = np.fromfile(info.file, kind, size, offset=info.start)
        if len(content) < size:
            raise InputError(f"{info.file}: truncated")
        return content

    return Stored(info.file, (size,), kind, info.kind, read, read)
