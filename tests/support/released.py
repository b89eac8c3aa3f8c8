"""Checkpoints in released encodings, tiny, beside those of the floats that they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from support import encoders
from support.checkpoints import LLAMA, make_checkpoint

# Sizes that make blocks partial, and words whole.
SIZES = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2)
Encode = Callable[..., tuple[encoders.Parts, np.ndarray]]


def linears(tensors: dict[str, np.ndarray]) -> list[str]:
    return [n for n in tensors if n.endswith("_proj.weight")]


def released(
    folder: Path,
    encode: Encode,
    name: Callable[[str, str], str],
    facts: dict[str, Any],
    sizes: dict[str, int] | None = None,
    other: Callable[[str], dict[str, Any] | None] = lambda weight: {},
    **options: Any,
) -> tuple[Path, Path]:
    """A copy in an encoding, and the checkpoint of the floats that it stands for.

    other: the options that a weight has beside `options`; None for one that stays floats.
    """
    sizes = {**SIZES, **(sizes or {})}
    plain, coded = make_checkpoint(folder / "plain", LLAMA, **sizes), folder / "coded"
    make_checkpoint(coded, LLAMA, **sizes)
    rng = np.random.default_rng(7)
    tensors = load_file(plain / "model.safetensors")
    stored = dict(tensors)
    for weight in [name for name in linears(tensors) if other(name) is not None]:
        parts, exact = encode(stored.pop(weight), rng, **(options | (other(weight) or {})))
        tensors[weight] = exact.astype(np.float32)
        stored |= {name(weight, part): value for part, value in parts.items()}
    save_file(tensors, plain / "model.safetensors")
    save_any(stored, coded / "model.safetensors")
    config = json.loads((coded / "config.json").read_text())
    (coded / "config.json").write_text(json.dumps({**config, "quantization_config": facts}))
    return coded, plain


_NAMES = {
    ml_dtypes.float8_e4m3fn: "F8_E4M3",
    ml_dtypes.float8_e8m0fnu: "F8_E8M0",
    np.float32: "F32",
    np.float16: "F16",
    np.int32: "I32",
    np.uint8: "U8",
    np.int8: "I8",
    ml_dtypes.bfloat16: "BF16",
    np.int64: "I64",
}


def save_any(tensors: dict[str, np.ndarray], path: Path) -> None:
    """A safetensors file by hand: its own writer for NumPy knows no 8-bit floats."""
    header, body = {}, b""
    for name, value in tensors.items():
        raw = np.ascontiguousarray(value).tobytes()
        kind = next(label for t, label in _NAMES.items() if value.dtype == np.dtype(t))
        offsets = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": offsets}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def in_place_of_weight(weight: str, part: str) -> str:
    return weight.replace(".weight", f".{part}")


def with_suffix(suffix: str) -> Callable[[str, str], str]:
    return lambda weight, part: weight if part == "codes" else f"{weight}{suffix}"


def groups_of(bits: int, **more: Any) -> dict[str, Any]:
    weights_ = {"num_bits": bits, "type": "int", "strategy": "group", "symmetric": True}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights_, **more}},
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
    }


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


GPTQ = {"quant_method": "gptq", "group_size": 32, "desc_act": False, "sym": False}


FP8: dict[str, Any] = {"quant_method": "fp8", "activation_scheme": "dynamic"}
BNB: dict[str, Any] = {"quant_method": "bitsandbytes"}
FOUR = {**BNB, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
_EVEN = dict(hidden_size=64, intermediate_size=128)  # rows are whole blocks

# One of each kind, by name: arguments of `released` after the folder.
CASES: dict[str, dict[str, Any]] = {
    "gptq": dict(
        encode=encoders.gptq,
        name=in_place_of_weight,
        facts={**GPTQ, "bits": 4, "desc_act": True},
        **dict(bits=4, group=32, act_order=True),
    ),
    "gptq-3bit": dict(
        encode=encoders.gptq,
        name=in_place_of_weight,
        facts={**GPTQ, "bits": 3},
        **dict(bits=3, group=32),
    ),
    "gptq-8bit": dict(
        encode=encoders.gptq,
        name=in_place_of_weight,
        facts={**GPTQ, "bits": 8, "checkpoint_format": "gptq_v2"},
        **dict(bits=8, group=32, plus=0),
    ),
    "awq": dict(
        encode=encoders.awq,
        name=in_place_of_weight,
        facts={"quant_method": "awq", "bits": 4, "version": "gemm"},
        group=32,
    ),
    "fp8-block": dict(
        encode=encoders.fp8,
        name=with_suffix("_scale_inv"),
        facts={**FP8, "weight_block_size": [48, 40]},
        block=(48, 40),
    ),
    "fp8-row": dict(encode=encoders.fp8, name=with_suffix("_scale"), facts=FP8, block=None),
    "pack-quantized": dict(
        encode=encoders.packed_numbers,
        name=in_place_of_weight,
        facts=groups_of(4),
        **dict(bits=4, groups=4, zeros=True),
    ),
    "pack-quantized-8": dict(
        encode=encoders.packed_numbers,
        name=in_place_of_weight,
        facts=groups_of(8),
        **dict(bits=8, groups=4, act_order=True),
    ),
    "int-quantized": dict(
        encode=encoders.whole_numbers, name=in_place_of_weight, facts=groups_of(8)
    ),
    "nvfp4": dict(encode=encoders.nvfp4, name=in_place_of_weight, facts=groups_of(4), divided=True),
    "modelopt": dict(
        encode=encoders.nvfp4,
        name=in_place_of_weight,
        facts={"quant_method": "modelopt", "quant_algo": "NVFP4"},
        divided=False,
    ),
    "bnb-nf4": dict(
        encode=encoders.four_bit,
        name=in_place_of_weight,
        facts=FOUR,
        sizes=_EVEN,
        **dict(kind="nf4", nested=True),
    ),
    "bnb-fp4": dict(
        encode=encoders.four_bit,
        name=in_place_of_weight,
        facts={**FOUR, "bnb_4bit_quant_type": "fp4"},
        sizes=_EVEN,
        kind="fp4",
    ),
    "bnb-int8": dict(
        encode=encoders.int8, name=in_place_of_weight, facts={**BNB, "load_in_8bit": True}
    ),
}
