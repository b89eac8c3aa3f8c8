"""AWQ (Lin et al. 2023, arXiv:2306.00978), the layout called gemm: 4 bits, groups of inputs.

W = ((q - z) s)^T, with nothing added to the zeros. The eight codes of a word are columns
0, 2, 4, 6, 1, 3, 5, 7 of its eight (AutoAWQ, utils/packing_utils.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import (
    Arrays,
    Encoding,
    check_shape,
    part,
    unpacked,
    weight_of,
)
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import Grouping, packed_halves

_COLUMNS = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])  # code i of a word -> its column


class Awq(Encoding):
    """AWQ as AutoAWQ writes it: codes of 4 bits, a zero point and a scale per group of inputs."""

    methods = ("awq",)
    bits = 4

    def __init__(self, facts: Config):
        super().__init__(facts)
        version = facts.get("version") or "gemm"
        if str(version).lower() != "gemm":
            raise InputError(f"{facts.where}: version = {version!r}; only gemm is read")
        bits = [facts.get(key) for key in ("bits", "w_bit") if facts.get(key) is not None]
        if any(value != 4 for value in bits):
            raise InputError(f"{facts.where}: bits = {bits[0]!r}; only 4 are read")
        facts.inert(
            *"""backend do_fuse exllama_config fuse_max_seq_len group_size modules_to_fuse
            modules_to_not_convert q_group_size quant_method version zero_point""".split()
        )

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces qweight, qzeros and scales of each layer by its weight, [outputs, inputs]."""
        found = dict(tensors)
        for name, codes in tensors.items():
            if not name.endswith(".qweight"):
                continue
            module = name.removesuffix(".qweight")
            weight = f"{module}.weight"
            if len(codes.shape) != 2 or codes.dtype != np.int32:
                raise InputError(f"{codes.file}: {name} is not a matrix of int32")
            parts = {"qweight": codes}
            for one in ("qzeros", "scales"):
                parts[one] = part(tensors, f"{module}.{one}", weight, codes.file)
            for one in parts:
                del found[f"{module}.{one}"]
            inputs, outputs = codes.shape[0], codes.shape[1] * 8
            groups = next(iter(parts["scales"].shape), 0)
            check_shape(parts["scales"], f"{module}.scales", (groups, outputs))
            check_shape(parts["qzeros"], f"{module}.qzeros", (groups, outputs // 8))
            if groups < 1 or inputs % groups:
                raise InputError(f"{codes.file}: {module} has {inputs} inputs, {groups} groups")
            scale = str(parts["scales"].dtype)
            meaning = Grouping((outputs, inputs), "uint4", groups, scale=scale, zero=True)
            found[weight] = weight_of(
                weight,
                parts,
                (outputs, inputs),
                _decode,
                "AWQ",
                meaning=meaning if parts["scales"].is_float else None,
                pack=_packed,
            )
        for name in found:
            if name.endswith(".act.scales"):
                raise InputError(
                    f"{found[name].file}: {name} scales activations, which is not read"
                )
        return found


def _columns(words: np.ndarray) -> np.ndarray:
    """The codes of words [R, W] in the order of their columns, [R, 8 W]."""
    codes = unpacked(words, 4, words.shape[1] * 8).reshape(*words.shape, 8)
    return codes[..., _COLUMNS].reshape(len(words), -1)


def _packed(parts: Arrays) -> dict[str, np.ndarray]:
    code_IO, zero_GO = _columns(parts["qweight"]), _columns(parts["qzeros"])
    codes = packed_halves(np.ascontiguousarray(code_IO.T))
    return {"codes": codes, "scale": parts["scales"].T, "zero": zero_GO.T}


def _decode(parts: Arrays) -> np.ndarray:
    code_IO, zero_GO = _columns(parts["qweight"]), _columns(parts["qzeros"])
    inputs, outputs = code_IO.shape
    scale_GO = parts["scales"].astype(np.float32)
    grouped = code_IO.reshape(len(scale_GO), -1, outputs).astype(np.float32)
    grouped -= zero_GO[:, None].astype(np.float32)
    grouped *= scale_GO[:, None]
    return grouped.reshape(inputs, outputs).T
