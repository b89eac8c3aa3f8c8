"""compressed-tensors (llm-compressor, vLLM): packed or plain integers, 8-bit and 4-bit floats.

The encoding of a weight follows from its tensors; config_groups gives the bits of packed integers.
Packed integers are stored as q + 2^(b-1); W = (q - z) s, with a scale per tensor, row or group of
inputs (compressed_tensors/compressors).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import Arrays, Encoding, part, unpacked, weight_of
from jaxmap.checkpoint.encodings.fp4 import float4
from jaxmap.checkpoint.encodings.fp8 import FLOAT8, Block, scaled
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import Grouping, packed_halves

_OF_ACTIVATIONS = (
    *(".input_scale", ".input_zero_point", ".input_global_scale"),
    *(".output_scale", ".output_zero_point", ".k_scale", ".v_scale", ".q_scale"),
)
_FORMATS = (
    *("dense", "int-quantized", "float-quantized", "naive-quantized", "pack-quantized"),
    *("nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized", "mixed-precision"),
)


class CompressedTensors(Encoding):
    """compressed-tensors: integers or small floats with scales per tensor, row, group or block."""

    methods = ("compressed-tensors",)

    def __init__(self, facts: Config):
        super().__init__(facts)
        groups = (facts.get("config_groups") or {}).values()
        for one in (facts.get("format"), *(group.get("format") for group in groups)):
            if one not in (None, *_FORMATS):
                raise InputError(
                    f"{facts.where}: format = {one!r:.60} is not read; known: {', '.join(_FORMATS)}"
                )
        self._blocks = _blocks(facts.where, groups)
        self._bits = sorted({group["weights"]["num_bits"] for group in groups if group["weights"]})
        if any(type(bits) is not int or not 1 <= bits <= 8 for bits in self._bits):
            raise InputError(
                f"{facts.where}: config_groups: num_bits {self._bits}; 1 to 8 are read"
            )
        self.bits = self._bits[0] if len(self._bits) == 1 else None
        if any(group.get("input_activations") for group in groups):
            self.approximates = "activations of few bits"
        for key in ("sparsity_config", "transform_config"):
            value = facts.get(key)
            dense = isinstance(value, dict) and value.get("format") == "dense"
            if value and not dense:
                raise InputError(f"{facts.where}: {key} is not read")
        facts.inert("global_compression_ratio", "ignore", "kv_cache_scheme")
        facts.inert("quant_method", "quantization_status", "version")

    @property
    def label(self) -> str:
        """The format that quantization_config names, such as "pack-quantized"."""
        return str(self.facts.peek("format") or self.methods[0])

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces the codes and scales of each layer by its weight, [outputs, inputs]."""
        found = {n: t for n, t in tensors.items() if not n.endswith(_OF_ACTIVATIONS)}
        for name, stored in tensors.items():
            module, _, last = name.rpartition(".")
            if last == "weight_packed" and stored.dtype == np.uint8:
                float4(module, tensors, found, divided=True)
            elif last == "weight_packed":
                self._packed(module, tensors, found)
            elif last == "weight" and stored.dtype == np.int8:
                _plain(module, tensors, found)
            elif last == "weight" and stored.dtype in FLOAT8:
                scale = part(tensors, f"{module}.weight_scale", name, stored.file)
                del found[f"{module}.weight_scale"]
                scale_name = f"{module}.weight_scale"
                found[name] = scaled(name, stored, scale_name, scale, *self._blocks)
        return found

    def _packed(self, module: str, tensors: Mapping[str, Stored], found: dict[str, Stored]) -> None:
        weight, codes = f"{module}.weight", tensors[f"{module}.weight_packed"]
        parts = {"weight_packed": codes}
        for one in ("weight_scale", "weight_shape"):
            parts[one] = part(tensors, f"{module}.{one}", weight, codes.file)
        for one in ("weight_zero_point", "weight_g_idx"):
            if f"{module}.{one}" in tensors:
                parts[one] = tensors[f"{module}.{one}"]
        for one in parts:
            del found[f"{module}.{one}"]
        shape = tuple(int(size) for size in parts.pop("weight_shape").read().reshape(-1))
        if len(shape) != 2 or codes.dtype != np.int32 or codes.shape[:1] != shape[:1]:
            raise InputError(f"{codes.file}: {module}.weight_packed does not fit {list(shape)}")
        bits = self._bits_of(codes, module, shape[1])
        _check_parts(module, (shape[0], shape[1]), parts, bits)
        how: dict[str, Any] = dict(name=f"{codes.file}: {weight}", shape=shape, bits=bits)
        found[weight] = weight_of(
            weight,
            parts,
            shape,
            partial(_decode_packed, **how),
            f"{bits}-bit",
            meaning=_meaning(
                shape,
                "uint4" if bits <= 4 else "uint8",
                parts["weight_scale"],
                zero=True,
                indexed="weight_g_idx" in parts,
            ),
            pack=partial(_repacked, **how),
        )

    def _bits_of(self, codes: Stored, module: str, inputs: int) -> int:
        fits = [
            bits
            for bits in self._bits
            if codes.shape[1] in (-(-inputs * bits // 32), -(-inputs // (32 // bits)))
        ]
        if len(fits) != 1:
            raise InputError(
                f"{codes.file}: {module}.weight_packed of {list(codes.shape)} is no matrix of "
                f"{inputs} inputs in {' or '.join(map(str, self._bits)) or 'any'} bits"
            )
        return fits[0]


def _blocks(where: str, groups: Iterable[Mapping[str, Any]]) -> tuple[Block, ...]:
    """The block structures of all groups, [rows, columns], each once."""
    found = [(group.get("weights") or {}).get("block_structure") for group in groups]
    for one in filter(None, found):
        if len(one) != 2 or not all(type(size) is int and size > 0 for size in one):
            raise InputError(f"{where}: block_structure = {one!r:.60}: must be two sizes")
    return tuple({(one[0], one[1]): None for one in found if one})


def _numbers(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpacks signed integers along the last axis: int8 [..., count].

    Until 2026, integers of 3, 5, 6 and 7 bits did not extend over two words; the number of words
    shows which packing it is.
    """
    if words.shape[-1] == -(-count * bits // 32):
        codes = unpacked(words, bits, count)
    else:
        each = 32 // bits
        little = np.ascontiguousarray(words).view(np.uint32)
        shifts = (np.arange(each) * bits).astype(np.uint32)
        codes = (little[..., None] >> shifts) & np.uint32((1 << bits) - 1)
        codes = codes.reshape(*words.shape[:-1], -1)[..., :count]
    return (codes.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)


def _decode_packed(parts: Arrays, *, name: str, shape: tuple[int, int], bits: int) -> np.ndarray:
    outputs, inputs = shape
    codes = _numbers(parts["weight_packed"], bits, inputs)
    zeros = parts.get("weight_zero_point")
    if zeros is not None and zeros.dtype == np.int32:  # packed along the rows
        zeros = _numbers(zeros.T, bits, outputs).T
    return _apply(codes, parts["weight_scale"], zeros, parts.get("weight_g_idx"), name)


def _meaning(
    shape: tuple[int, ...], code: str, scale: Stored, *, zero: bool, indexed: bool = False
) -> Grouping | None:
    """How a device holds it in codes; None where groups do not come out even."""
    outputs, inputs = shape
    count = int(np.prod(scale.shape))
    groups = 1 if count == 1 else count // outputs
    if not scale.is_float or groups < 1 or inputs % groups or count not in (1, groups * outputs):
        return None
    return Grouping((outputs, inputs), code, groups, str(scale.float_dtype), zero, indexed)


def _repacked(
    parts: Arrays, *, name: str, shape: tuple[int, int], bits: int
) -> dict[str, np.ndarray]:
    (outputs, inputs), middle = shape, 1 << (bits - 1)
    codes = _numbers(parts["weight_packed"], bits, inputs).astype(np.int16) + middle
    scales = _by_rows(parts["weight_scale"], outputs)
    zeros = parts.get("weight_zero_point")
    if zeros is None:
        zeros = np.zeros((), np.int16)
    elif zeros.dtype == np.int32:
        zeros = _numbers(zeros.T, bits, outputs).T
    zeros = zeros.astype(np.int16).reshape(1 if zeros.size == 1 else outputs, -1) + middle
    which = _which(parts.get("weight_g_idx"), inputs, scales.shape[1], name)
    unsigned = codes.astype(np.uint8)
    return {
        "codes": packed_halves(unsigned) if bits <= 4 else unsigned,
        "scale": scales,
        "zero": np.broadcast_to(zeros, scales.shape),
        "index": which,
    }


def _check_parts(
    module: str, shape: tuple[int, int], parts: Mapping[str, Stored], bits: int = 8
) -> None:
    """InputError unless scales, zeros and groups fit a weight [out, in]."""
    (outputs, inputs), scale = shape, parts["weight_scale"]
    columns = scale.shape[1] if scale.shape[:1] == (outputs,) and len(scale.shape) == 2 else 1
    scales = ((), (1,), (1, 1), (outputs,), (outputs, columns))
    rows = {-(-outputs * bits // 32), -(-outputs // (32 // bits))}
    fits = {"weight_scale": scales, "weight_g_idx": ((inputs,),)}
    zero = parts.get("weight_zero_point")
    if zero is not None and zero.dtype == np.int32:  # packed along the rows
        fits["weight_zero_point"] = tuple((count, columns) for count in rows)
    else:
        fits["weight_zero_point"] = scales
    for name, allowed in fits.items():
        if name in parts and parts[name].shape not in allowed:
            raise InputError(
                f"{scale.file}: {module}.{name} of {list(parts[name].shape)} does not fit a weight "
                f"of {list(shape)}"
            )
    if not columns or inputs % columns:
        raise InputError(
            f"{scale.file}: {module}.weight_scale has {columns} groups of {inputs} inputs"
        )


def _by_rows(scales: np.ndarray, outputs: int) -> np.ndarray:
    """Scales [], [1], [out, 1] or [out, groups] as [out, groups]."""
    if scales.size == 1:
        return np.broadcast_to(scales.reshape(1, 1), (outputs, 1))
    return scales.reshape(outputs, -1)


def _which(group: np.ndarray | None, inputs: int, groups: int, name: str) -> np.ndarray:
    """The group of each input, [I]."""
    if inputs % groups:
        raise InputError(f"{name}: {inputs} inputs in {groups} groups")
    if group is not None and (group == -1).all():  # as it is made, and never set
        group = None
    which = np.arange(inputs) // (inputs // groups) if group is None else group
    if which.shape != (inputs,) or which.min() < 0 or which.max() >= groups:
        raise InputError(f"{name}: weight_g_idx does not name one of {groups} groups per input")
    return which


def _plain(module: str, tensors: Mapping[str, Stored], found: dict[str, Stored]) -> None:
    weight, codes = f"{module}.weight", tensors[f"{module}.weight"]
    parts = {"weight": codes}
    parts["weight_scale"] = part(tensors, f"{module}.weight_scale", weight, codes.file)
    if f"{module}.weight_zero_point" in tensors:
        parts["weight_zero_point"] = tensors[f"{module}.weight_zero_point"]
    for one in list(parts)[1:]:
        del found[f"{module}.{one}"]

    if len(codes.shape) != 2:
        raise InputError(f"{codes.file}: {weight} is not a matrix")
    _check_parts(module, (codes.shape[0], codes.shape[1]), parts)

    def decode(arrays: Arrays) -> np.ndarray:
        zeros = arrays.get("weight_zero_point")
        return _apply(arrays["weight"], arrays["weight_scale"], zeros, None, weight)

    def pack(arrays: Arrays) -> dict[str, np.ndarray]:
        scales = _by_rows(arrays["weight_scale"], codes.shape[0])
        zeros = arrays.get("weight_zero_point", np.zeros((), np.int16)).astype(np.int16)
        zeros = zeros.reshape(1 if zeros.size == 1 else codes.shape[0], -1)
        zero = np.broadcast_to(zeros, scales.shape)
        return {"codes": arrays["weight"], "scale": scales, "zero": zero}

    zero = "weight_zero_point" in parts
    meaning = _meaning(codes.shape, "int8", parts["weight_scale"], zero=zero)
    found[weight] = weight_of(
        weight, parts, codes.shape, decode, "8-bit", meaning=meaning, pack=pack
    )


def _apply(
    codes: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray | None,
    group: np.ndarray | None,
    name: str,
) -> np.ndarray:
    """(q - z) s, with scales and zeros [], [1], [out, 1] or [out, groups]."""
    outputs, inputs = codes.shape
    weight = codes.astype(np.float32)
    scales = _by_rows(scales.astype(np.float32), outputs)
    groups = scales.shape[1]
    which = _which(group, inputs, groups, name)
    if zeros is not None:
        zeros = zeros.reshape(1, 1) if zeros.size == 1 else zeros.reshape(outputs, -1)
        weight -= zeros.astype(np.float32)[:, which if zeros.shape[1] == groups else which * 0]
    weight *= scales[:, which]
    return weight
