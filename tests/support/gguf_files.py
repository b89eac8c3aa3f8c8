"""GGUF files of Hugging Face checkpoints, written by the rules of llama.cpp's converter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants

from support.checkpoints import V, add_tokenizer, make_checkpoint, read_config, read_tensors
from support.gguf_converters import CONVERTERS, Config, sizes


def converted(folder: Path) -> tuple[str, Config, dict[str, np.ndarray]]:
    """Architecture, metadata without its name, and float32 tensors of a checkpoint's folder."""
    c = read_config(folder)
    one = CONVERTERS[c["model_type"]]
    layers = sizes(c)["block_count"]
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == one.name)
    table = gguf.get_tensor_name_map(number, layers)
    stacks: dict[str, dict[int, np.ndarray]] = {}
    out: dict[str, np.ndarray] = {}

    def put(name: str, w: np.ndarray) -> None:
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        if one.name == "bloom":
            name = name.removeprefix("transformer.")
        own = table.get_name(name, try_suffixes=(".weight", ".bias"))
        assert own is not None, name
        if own.rpartition(".")[2] not in ("weight", "bias", "ssm_a", "ssm_d"):
            own += ".weight"
        squeezed = w.squeeze()
        out[own] = squeezed if squeezed.ndim else w

    for name, w in sorted(read_tensors(folder).items()):
        w = w.astype(np.float32)
        for pattern, change in one.changes.items():
            if re.search(pattern, name):
                w = change(w, c)
        apart = next((f for pattern, f in one.parts.items() if re.search(pattern, name)), None)
        if apart is not None:
            layer = re.search(r"\d+", name)[0]  # type: ignore[index]
            out |= {f"blk.{layer}.{own}": part for own, part in apart(w, c).items()}
        elif found := re.search(r"(experts|_layernorm\.norms)\.(\d+)\.", name):
            start = found[1].replace(".norms", "")
            merged = name.replace(found[0], f"{start}.")
            stacks.setdefault(merged, {})[int(found[2])] = w
        elif "gate_up_proj_bias" in name and one.name == "gpt-oss":
            layer = re.search(r"\d+", name)[0]  # type: ignore[index]
            out[f"blk.{layer}.ffn_gate_exps.bias"] = w[:, ::2]
            out[f"blk.{layer}.ffn_up_exps.bias"] = w[:, 1::2]
        elif "gate_up_proj" in name and one.name == "gpt-oss":
            layer = re.search(r"\d+", name)[0]  # type: ignore[index]
            out[f"blk.{layer}.ffn_gate_exps.weight"] = w[:, :, ::2].transpose(0, 2, 1)
            out[f"blk.{layer}.ffn_up_exps.weight"] = w[:, :, 1::2].transpose(0, 2, 1)
        elif "down_proj" in name and one.name == "gpt-oss":
            layer = re.search(r"\d+", name)[0]  # type: ignore[index]
            kind = "bias" if name.endswith("bias") else "weight"
            out[f"blk.{layer}.ffn_down_exps.{kind}"] = w if w.ndim == 2 else w.transpose(0, 2, 1)
        else:
            put(name, w)
    for merged, parts in stacks.items():
        put(merged, np.stack([parts[e] for e in sorted(parts)]))
    return one.name, one.metadata(c), out


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Config,
    tensors: Mapping[str, np.ndarray],
    *,
    kind: str | Callable[[str, np.ndarray], str] = "F32",
    file_type: int | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes one file; matrices in `kind`, others in float32.

    more: metadata by their whole names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    if file_type is not None:
        writer.add_file_type(file_type)
    for key, value in {
        **{f"{architecture}.{key}": value for key, value in metadata.items()},
        **(more or {}),
    }.items():
        add(writer, key, value)
    for name, w in tensors.items():
        named = kind if isinstance(kind, str) else kind(name, w)
        if w.ndim < 2 or named == "F32":
            writer.add_tensor(name, np.ascontiguousarray(w))
            continue
        number = GGMLQuantizationType[named]
        data = coded(np.ascontiguousarray(w), named)
        writer.add_tensor(name, data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def coded(w: np.ndarray, kind: str) -> np.ndarray:
    """The bytes of an array in a type; by random blocks where the package only decodes it."""
    number = GGMLQuantizationType[kind]
    if kind == "F16":
        return w.astype(np.float16)
    try:
        return quants.quantize(w, number)
    except NotImplementedError:
        return random_blocks(w.shape, kind)


# Where a block's float16 scales lie: the rest of its bytes may be anything.
SCALES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ1_S": (0,),
    "IQ2_S": (0,),
    "IQ2_XS": (0,),
    "IQ2_XXS": (0,),
    "IQ3_S": (0,),
    "IQ3_XXS": (0,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
}


def random_blocks(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Blocks of random codes, whose scales make numbers of about the size of weights."""
    number = GGMLQuantizationType[kind]
    numbers, size = gguf.GGML_QUANT_SIZES[number]
    random = np.random.default_rng(len(kind) + int(np.prod(shape)))
    blocks = random.integers(0, 256, (int(np.prod(shape)) // numbers, size), dtype=np.uint8)
    for at in SCALES.get(kind, ()):
        scale = random.uniform(0.5, 1.5, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scale[:, None].view(np.uint8)
    if kind == "IQ1_M":  # its scale is in the high nibbles of four 16-bit words
        words = blocks[:, -8:].view(np.uint16)
        scale = np.full(len(blocks), 0.5, np.float16).view(np.uint16)
        for i in range(4):
            words[:, i] = words[:, i] & 0x0FFF | (scale >> 4 * i & 15) << 12
    if kind == "MXFP4":
        blocks[:, 0] = random.integers(120, 130, len(blocks))
    if kind == "NVFP4":
        blocks[:, :4] = random.integers(40, 60, (len(blocks), 4))
    values = quants.dequantize(blocks.reshape(-1), number)
    assert np.isfinite(values).all(), kind
    spread = float(np.abs(values).mean())
    factor = np.float16(0.1 / spread)  # by all scales alike
    for at in SCALES.get(kind, ()):
        scale = blocks[:, at : at + 2].copy().view(np.float16) * factor
        blocks[:, at : at + 2] = scale.view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


WIDE: Config = dict(
    vocab_size=V, hidden_size=256, intermediate_size=256, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    rms_norm_eps=1e-5,
)  # fmt: skip


def mixed(name: str, _: np.ndarray) -> str:
    """As in llama.cpp's files of the K types, some layers of a parameter are wider than others."""
    if name.startswith("blk.1."):
        return "Q6_K" if "ffn_down" in name or "attn_v" in name else "Q4_K"
    if name.startswith("blk.2.") and "attn_k" in name:
        return "F16"
    return "Q4_K" if name.startswith("blk.") else "Q8_0"


def made_of(folder: Path, config: Config, kind: str | Callable[..., str] = mixed) -> Path:
    """The folder of the checkpoint that a GGUF file of a random model is."""
    from jaxmap.checkpoint.refs import parse_ref
    from jaxmap.checkpoint.sources.files import fetch, resolve

    source = make_checkpoint(folder / "hf", config, spread=0.05)
    path = folder / "gguf" / "model.gguf"
    write_gguf(path, *converted(source), kind=kind)
    add_tokenizer(path.parent)
    return fetch(resolve(parse_ref(str(path)))).folder
