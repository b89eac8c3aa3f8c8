"""bitsandbytes: nf4 and fp4 blockwise (QLoRA, arXiv:2305.14314), LLM.int8() (arXiv:2208.07339).

In 4 bits, the flattened weight has two codes per byte, the high half first; `quant_map` is the
table of their values and `absmax` the scale of each block, which may be quantised too ("nested").
The weight is rounded to the dtype that the file names, as in bitsandbytes. In 8 bits,
W = q SCB / 127.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import Arrays, Encoding, check_shape, part, weight_of
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import OUTLIER, Grouping, Int8Rows

_STATE = ".quant_state.bitsandbytes__"
_KINDS = ("nf4", "fp4")
_DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
}


class BitsAndBytes(Encoding):
    """bitsandbytes: 8-bit rows, or 4-bit codes in blocks, with or without nested scales."""

    methods = ("bitsandbytes",)

    def __init__(self, facts: Config):
        super().__init__(facts)
        eight = bool(facts.get("load_in_8bit") or facts.get("_load_in_8bit"))
        self.bits = 8 if eight else 4
        threshold = facts.get("llm_int8_threshold", OUTLIER)
        if eight and threshold != OUTLIER:
            self.approximates = f"activations in 8 bit, with a threshold of {threshold}"
        facts.inert(
            *"""_load_in_4bit _load_in_8bit bnb_4bit_compute_dtype bnb_4bit_quant_storage
            bnb_4bit_quant_type bnb_4bit_use_double_quant llm_int8_enable_fp32_cpu_offload
            llm_int8_has_fp16_weight llm_int8_skip_modules load_in_4bit
            load_in_8bit quant_method target_parameters""".split()
        )

    @property
    def label(self) -> str:
        """ "bnb-int8", "bnb-nf4" or "bnb-fp4"."""
        return (
            "bnb-int8"
            if self.bits == 8
            else f"bnb-{self.facts.peek('bnb_4bit_quant_type') or 'fp4'}"
        )

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces the codes and scales of each layer by its weight, [outputs, inputs]."""
        found = dict(tensors)
        for name, stored in tensors.items():
            if _STATE in name:
                weight, _, kind = name.partition(_STATE)
                found[weight] = _four_bit(weight, kind, name, tensors, found)
            elif name.endswith(".SCB"):
                module = name.removesuffix(".SCB")
                codes = part(tensors, f"{module}.weight", module, stored.file)
                if codes.dtype != np.int8 or len(codes.shape) != 2:
                    raise InputError(f"{codes.file}: {module}.weight is not a matrix of int8")
                check_shape(stored, name, codes.shape[:1])
                del found[name]
                order = found.pop(f"{module}.weight_format", None)
                if order is not None and order.read().any():
                    raise InputError(
                        f"{stored.file}: {module}.weight_format: only rows (0) are read; save the "
                        "copy again with a bitsandbytes from 2024 or later"
                    )
                parts = {"weight": codes, "SCB": stored}
                exact = not self.approximates
                found[f"{module}.weight"] = weight_of(
                    f"{module}.weight",
                    parts,
                    codes.shape,
                    _eight_bit,
                    "8-bit bitsandbytes",
                    meaning=Int8Rows((codes.shape[0], codes.shape[1])) if exact else None,
                    pack=lambda arrays: {"weight": arrays["weight"], "absmax": arrays["SCB"]},
                )
        return found


def _eight_bit(parts: Arrays) -> np.ndarray:
    return parts["weight"].astype(np.float32) * (parts["SCB"].astype(np.float32) / 127)[:, None]


def _four_bit(
    weight: str,
    kind: str,
    name: str,
    tensors: Mapping[str, Stored],
    found: dict[str, Stored],
) -> Stored:
    state = tensors[name]
    try:
        facts = json.loads(state.read().tobytes())
        shape, block = tuple(map(int, facts["shape"])), int(facts["blocksize"])
        dtype = _DTYPES[facts["dtype"]]
        nested = {key: facts[key] for key in facts if key.startswith("nested_")}
        inner = int(nested.get("nested_blocksize", 1))
        offset = float(nested.get("nested_offset", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{state.file}: {name} is not the quantisation state of a weight ({error!r})"
        ) from None
    if kind not in _KINDS or block < 1 or inner < 1 or min(shape, default=0) < 1:
        raise InputError(
            f"{state.file}: {name} does not describe a weight in nf4 or fp4: {facts!r:.100}"
        )
    count = math.prod(shape)
    blocks = -(-count // block)
    parts = {}
    for one, size in (("absmax", blocks), ("quant_map", 16)):
        own = f"{weight}.{one}"
        parts[one] = part(tensors, own, weight, state.file)
        check_shape(parts[one], own, (size,))
    if nested:
        for one, size in (("nested_absmax", -(-blocks // inner)), ("nested_quant_map", 256)):
            own = f"{weight}.{one}"
            parts[one] = part(tensors, own, weight, state.file)
            check_shape(parts[one], own, (size,))
    for one in parts:
        del found[f"{weight}.{one}"]
    del found[name]
    parts["weight"] = part(tensors, weight, weight, state.file)
    stored = parts["weight"].dtype
    if stored is None or parts["weight"].num_bytes != -(-count // 2):
        raise InputError(f"{state.file}: {weight} does not hold {count} codes of 4 bits")
    how: dict[str, Any] = dict(shape=shape, block=block, inner=inner, offset=offset)
    meaning = None
    if len(shape) == 2 and shape[1] % block == 0:  # else blocks continue from one row to the next
        table = parts["quant_map"].read().astype(np.float32)
        meaning = Grouping(
            shape,
            "uint4",
            shape[1] // block,
            table=tuple(table.tolist()),
            rounded="" if dtype == np.float32 else str(dtype),
        )
    decode, pack = partial(_blockwise, **how), partial(_packed, **how)
    return weight_of(weight, parts, shape, decode, kind, dtype, meaning=meaning, pack=pack)


def _scales(parts: Arrays, inner: int, offset: float) -> np.ndarray:
    """The scale of each block, float32."""
    scales = parts["absmax"]
    if "nested_absmax" not in parts:
        return scales.astype(np.float32)
    each = np.repeat(parts["nested_absmax"].astype(np.float32), inner)[: len(scales)]
    return parts["nested_quant_map"].astype(np.float32)[scales] * each + np.float32(offset)


def _packed(
    parts: Arrays, *, shape: tuple[int, int], block: int, inner: int, offset: float
) -> dict[str, np.ndarray]:
    packed = np.ascontiguousarray(parts["weight"]).reshape(-1).view(np.uint8)
    swapped = (packed << 4) | (packed >> 4)  # the low half first
    scales = _scales(parts, inner, offset)
    return {"codes": swapped.reshape(shape[0], -1), "scale": scales.reshape(shape[0], -1)}


def _blockwise(
    parts: Arrays, *, shape: tuple[int, ...], block: int, inner: int, offset: float
) -> np.ndarray:
    count = math.prod(shape)
    packed = np.ascontiguousarray(parts["weight"]).reshape(-1).view(np.uint8)
    codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1)[:count]
    scales = _scales(parts, inner, offset)
    values = parts["quant_map"].astype(np.float32)[codes]
    whole = count - count % block
    values[:whole].reshape(-1, block)[...] *= scales[: whole // block, None]
    values[whole:] *= scales[-1]
    return values.reshape(shape)
