"""Weights in 8-bit floats with a scale: per tensor, per row, or per block of 128 x 128.

In DeepSeek-V3 (README_WEIGHTS.md), Kimi-K2 and Qwen3-FP8, `weight_scale_inv` is a factor, despite
its name; in FBGEMM and ModelOpt, `weight_scale` is a factor too. Scales may be e8m0, that is,
powers of two. The copies also round activations to 8-bit floats; here activations are not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import Arrays, Encoding, weight_of
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import Grouping
from jaxmap.model.encodings.dtypes import NUMBERS

FLOAT8 = (NUMBERS["F8_E4M3"], NUMBERS["F8_E5M2"])
_EVERY = {kind: np.arange(256, dtype=np.uint8).view(kind).astype(np.float32) for kind in FLOAT8}
_IS_FINITE = {kind: np.isfinite(values) for kind, values in _EVERY.items()}  # by the code
_VALUES = {kind: tuple(np.nan_to_num(values).tolist()) for kind, values in _EVERY.items()}
Block = tuple[int, int]  # rows and columns
_SCALES = ("_scale_inv", "_scale")
_OF_ACTIVATIONS = (".input_scale", ".activation_scale", ".k_scale", ".v_scale", ".input_scale_ub")


class Fp8(Encoding):
    """Weights in 8-bit floats, with one scale per tensor, per row or per block."""

    methods = ("fp8", "fbgemm_fp8")
    bits = 8
    approximates = "activations in 8-bit floats"

    def __init__(self, facts: Config):
        super().__init__(facts)
        block = facts.get("weight_block_size")
        sizes = block or [1, 1]
        if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
            raise InputError(f"{facts.where}: weight_block_size = {sizes!r:.60}: must be two sizes")
        self.blocks = ((sizes[0], sizes[1]),) if block else ()
        facts.inert("activation_scheme", "activation_scale_ub", "dequantize", "fmt", "quant_method")
        # The tensors show which modules are not quantised.
        facts.inert("ignored_layers", "modules_to_not_convert", "scale_fmt")

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces each weight in 8-bit floats and its scale by the scaled weight."""
        found = {n: t for n, t in tensors.items() if not n.endswith(_OF_ACTIVATIONS)}
        for name, stored in tensors.items():
            if stored.dtype not in FLOAT8:
                continue
            scale_name = next((name + end for end in _SCALES if name + end in tensors), None)
            if scale_name is None:
                raise InputError(f"{stored.file}: {name} lacks its {name}_scale_inv or _scale")
            found[name] = scaled(name, stored, scale_name, found.pop(scale_name), *self.blocks)
        return found


def scaled(name: str, stored: Stored, scale_name: str, scale: Stored, *blocks: Block) -> Stored:
    """A weight of 8-bit floats, [..., out, in], multiplied by its scales.

    blocks: the sizes of blocks that config.json names.

    Raises InputError for a weight that is not a matrix, and for scales that do not fit it.
    """
    if len(stored.shape) < 2 or 0 in stored.shape:
        raise InputError(f"{stored.file}: {name} of shape {list(stored.shape)} is not a matrix")
    lead, columns = stored.shape[:-2], stored.shape[-1]
    grid, (high, wide) = _blocks(stored, scale_name, scale, blocks)

    def decode(parts: Arrays) -> np.ndarray:
        weight, scales = parts["weight"].astype(np.float32), parts["scale"]
        if scales.dtype == np.uint8:  # exponents, as in NumPy's e8m0
            scales = scales.view(NUMBERS["F8_E8M0"])
        scales = scales.astype(np.float32).reshape(*lead, *grid)
        for i in range(
            grid[0]
        ):  # one row of blocks at a time, to avoid an array of scales of that size
            each = np.repeat(scales[..., i, :], wide, axis=-1)[..., None, :columns]
            weight[..., i * high : (i + 1) * high, :] *= each
        return weight

    def pack(parts: Arrays) -> dict[str, np.ndarray]:
        scales = parts["scale"]
        if scales.dtype == np.uint8:
            scales = scales.view(NUMBERS["F8_E8M0"])
        rows = np.repeat(scales.astype(np.float32).reshape(grid), high, axis=0)
        which = np.arange(columns) // wide
        codes = np.ascontiguousarray(parts["weight"]).view(np.uint8)
        if not _IS_FINITE[parts["weight"].dtype][codes].all():
            raise InputError(f"{stored.file}: NaN or infinite weights in {name}")
        return {"codes": codes, "scale": rows[: stored.shape[0]], "index": which}

    kind = stored.dtype
    assert kind is not None
    parts, meaning = {"weight": stored, "scale": scale}, None
    if not lead:
        own, indexed = (stored.shape[0], columns), grid[1] * wide != columns
        # Not as floats of 8 bits: XLA on a CPU makes all layers' wider ones at once.
        meaning = Grouping(own, "uint8", grid[1], indexed=indexed, table=_VALUES[kind])
    return weight_of(
        name, parts, stored.shape, decode, stored.dtype_name, meaning=meaning, pack=pack
    )


def _blocks(
    stored: Stored, scale_name: str, scale: Stored, blocks: tuple[Block, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The numbers of scales along rows and columns, and the rows and columns of a block.

    The block size is that of config.json, the last block possibly smaller, or else the size that
    divides the weight evenly: some matrices have other blocks than config.json says.
    """
    lead, (rows, columns) = stored.shape[:-2], stored.shape[-2:]
    shape = scale.shape
    if shape in ((), (1,)) or shape in (lead, (*lead, 1), (*lead, 1, 1)):
        return (1, 1), (rows, columns)
    if shape in ((*lead, rows), (*lead, rows, 1)):
        return (rows, 1), (1, columns)
    if len(shape) == len(stored.shape) and shape[:-2] == lead and min(shape[-2:]) > 0:
        grid = (shape[-2], shape[-1])
        for high, wide in blocks:
            if grid == (-(-rows // high), -(-columns // wide)):
                return grid, (min(high, rows), min(wide, columns))
        if not rows % grid[0] and not columns % grid[1]:
            return grid, (rows // grid[0], columns // grid[1])
    raise InputError(
        f"{scale.file}: {scale_name} has shape {list(shape)}, which does not fit a weight of "
        f"{list(stored.shape)}" + "".join(f" in blocks of {high} x {wide}" for high, wide in blocks)
    )
