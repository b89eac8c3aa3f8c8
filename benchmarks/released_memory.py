"""How much memory a released copy takes: loaded in its codes, decoded, and while it is scored.

    python benchmarks/released_memory.py
                                         [--formats=gptq,awq,packed,fp8,bnb-nf4,bnb-int8,q4_k_m,q8_0,float16]
                                         [--width=2048] [--layers=4] [--out=released_memory.json]

Each format is a Llama of `--layers` layers of `--width` with random codes, loaded and scored in a
process of its own. The table has the peak of its resident memory (VmHWM, Linux) above that of the
process before, beside the size of the file and of float32, and how many times as much processor
time scoring takes as with decoded weights (8 texts of 512 tokens, the best of 3). Pages of the file
are not counted: it is read, not mapped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from absl import app, flags

from jaxmap.atomic import write_atomic
from jaxmap.model.encodings.codes import BLOCK_TYPES

_FORMATS = flags.DEFINE_list(
    "formats",
    ["gptq", "awq", "packed", "fp8", "bnb-nf4", "bnb-int8", "q4_k_m", "q8_0", "float16"],
    "Which to measure; packed is of compressed-tensors, q4_k_m and q8_0 are GGUF files.",
)
_WIDTH = flags.DEFINE_integer("width", 2048, "Features of the residual stream, a multiple of 128.")
_LAYERS = flags.DEFINE_integer("layers", 4, "Layers.")
_OUT = flags.DEFINE_string("out", None, "A .json file for the table.")
_CHILD = flags.DEFINE_string("child", None, "Internal: a folder to load.")
_IN_CODES = flags.DEFINE_boolean("in_codes", True, "Internal: whether layers stay in codes.")

_KINDS = {np.dtype(np.int32): "I32", np.dtype(np.float16): "F16", np.dtype(np.float32): "F32",
          np.dtype(np.uint8): "U8", np.dtype(np.int8): "I8", np.dtype(np.int64): "I64",
          np.dtype(ml_dtypes.float8_e4m3fn): "F8_E4M3"}  # fmt: skip
_SETTINGS: dict[str, dict[str, Any] | None] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False},
    "awq": {"quant_method": "awq", "bits": 4, "version": "gemm"},
    "packed": {"quant_method": "compressed-tensors", "format": "pack-quantized",
               "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
                   "num_bits": 4, "group_size": 128, "strategy": "group"}}}},
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "bnb-nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "bnb-int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "q4_k_m": None,
    "q8_0": None,
    "float16": None,
}  # fmt: skip
_GGUF_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
               "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
               "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
               "mlp.down_proj": "ffn_down"}  # fmt: skip


def _parts(name: str, outs: int, ins: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """A matrix of random codes, by the ends of its tensors' names."""

    def words(rows: int, columns: int) -> np.ndarray:
        return random.integers(-(2**31), 2**31, (rows, columns), dtype=np.int32)

    def scales(*shape: int) -> np.ndarray:
        return random.uniform(1e-3, 2e-3, shape).astype(np.float16)

    if name == "gptq":
        index = (np.arange(ins) // 128).astype(np.int32)
        parts = {"qweight": words(ins // 8, outs), "qzeros": words(ins // 128, outs // 8)}
        return {**parts, "scales": scales(ins // 128, outs), "g_idx": index}
    if name == "awq":
        parts = {"qweight": words(ins, outs // 8), "qzeros": words(ins // 128, outs // 8)}
        return {**parts, "scales": scales(ins // 128, outs)}
    if name == "packed":
        parts = {"weight_packed": words(outs, ins // 8), "weight_scale": scales(outs, ins // 128)}
        return {**parts, "weight_shape": np.array([outs, ins])}
    if name == "fp8":
        codes = random.integers(0, 0x70, (outs, ins), dtype=np.uint8)
        grid = (-(-outs // 128), -(-ins // 128))
        return {
            "weight": codes.view(ml_dtypes.float8_e4m3fn),
            "weight_scale_inv": scales(*grid).astype(np.float32),
        }
    if name == "bnb-nf4":
        state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [outs, ins]}
        return {
            "weight": random.integers(0, 256, (outs * ins // 2, 1), dtype=np.uint8),
            "weight.absmax": scales(outs * ins // 64).astype(np.float32),
            "weight.quant_map": np.linspace(-1, 1, 16, dtype=np.float32),
            "weight.quant_state.bitsandbytes__nf4": np.frombuffer(
                json.dumps(state).encode(), np.uint8
            ),
        }
    if name == "bnb-int8":
        codes = random.integers(-127, 128, (outs, ins), dtype=np.int8)
        return {"weight": codes, "SCB": scales(outs).astype(np.float32)}
    return {"weight": (random.standard_normal((outs, ins)) / 100).astype(np.float16)}


def _write(folder: Path, name: str, width: int, layers: int) -> int:
    """Writes a checkpoint, a tensor after the other; returns its parameters."""
    F, V, random = 2 * width + 6 * width // 8, 1024, np.random.default_rng(0)
    F -= F % 128
    config = dict(
        model_type="llama", vocab_size=V, hidden_size=width, intermediate_size=F,
        num_hidden_layers=layers, num_attention_heads=width // 128, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True,
        **({"quantization_config": _SETTINGS[name]} if _SETTINGS[name] else {}),
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    if name.startswith("q"):
        return _write_gguf(folder / "model.gguf", name, width, F, V, layers)
    own, kv = width, 256
    shapes = {"self_attn.q_proj": (own, width), "self_attn.k_proj": (kv, width),
              "self_attn.v_proj": (kv, width), "self_attn.o_proj": (width, own),
              "mlp.gate_proj": (F, width), "mlp.up_proj": (F, width),
              "mlp.down_proj": (width, F)}  # fmt: skip
    count = V * width + width

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal count
        yield "model.embed_tokens.weight", _parts("float16", V, width, random)["weight"]
        yield "model.norm.weight", np.ones(width, np.float16)
        for layer in range(layers):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield f"model.layers.{layer}.{norm}.weight", np.ones(width, np.float16)
                count += width
            for module, (outs, ins) in shapes.items():
                count += outs * ins
                for part, array in _parts(name, outs, ins, random).items():
                    yield f"model.layers.{layer}.{module}.{part}", array

    header: dict[str, Any] = {}
    end = 0
    with tempfile.TemporaryFile() as body:
        for tensor, array in tensors():
            raw = array.tobytes()
            facts = {"dtype": _KINDS[array.dtype], "shape": list(array.shape)}
            header[tensor] = {**facts, "data_offsets": [end, end + len(raw)]}
            end += len(raw)
            body.write(raw)
        body.seek(0)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / "model.safetensors", "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            while piece := body.read(1 << 24):
                file.write(piece)
    return count


def _write_gguf(path: Path, name: str, width: int, F: int, V: int, layers: int) -> int:
    """The same model as a GGUF file of random blocks; returns its parameters."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter

    random, count = np.random.default_rng(0), 0
    writer = GGUFWriter(path, "llama")
    writer.add_head_count(width // 128)
    writer.add_head_count_kv(2)

    def add(tensor: str, kind: str, outs: int, ins: int) -> None:
        nonlocal count
        count += outs * ins
        number = GGMLQuantizationType[kind]
        numbers, size = GGML_QUANT_SIZES[number]
        blocks = random.integers(0, 256, (outs * ins // numbers, size), dtype=np.uint8)
        for at in BLOCK_TYPES[kind].halves:
            blocks[:, at : at + 2] = np.float16(1e-4).reshape(1).view(np.uint8)
        writer.add_tensor(tensor, blocks.reshape(outs, -1), raw_dtype=number)

    def norm(tensor: str) -> None:
        nonlocal count
        count += width
        writer.add_tensor(tensor, np.ones(width, np.float32))

    usual, wide = ("Q4_K", "Q6_K") if name == "q4_k_m" else ("Q8_0", "Q8_0")
    add("token_embd.weight", wide, V, width)
    norm("output_norm.weight")
    for layer in range(layers):
        norm(f"blk.{layer}.attn_norm.weight")
        norm(f"blk.{layer}.ffn_norm.weight")
        for own in _GGUF_NAMES.values():
            outs = {"attn_k": 256, "attn_v": 256, "ffn_gate": F, "ffn_up": F}.get(own, width)
            # llama.cpp's mixture: of these two every other layer or so is wider.
            kind = wide if own in ("attn_v", "ffn_down") and layer % 2 == 0 else usual
            add(f"blk.{layer}.{own}.weight", kind, outs, F if own == "ffn_down" else width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return count


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _child(folder: Path, in_codes: bool) -> None:
    from jaxmap import runtime

    runtime.prepare()
    import jax

    from jaxmap.benchmarking.programs import as_tokens
    from jaxmap.checkpoint import weights
    from jaxmap.engine.scorer import Scorers
    from jaxmap.engine.scores import score_tokens

    jax.numpy.zeros(1).block_until_ready()
    before = _peak()
    model = weights.load(folder, dtype="float32", in_codes=in_codes)
    loaded = _peak() - before
    ids = [np.random.default_rng(0).integers(0, 1024, 128, np.int32)]
    scorers = Scorers()
    score_tokens(scorers.of(model), model, as_tokens(ids))
    peak = _peak() - before
    ids = [np.random.default_rng(i).integers(0, 1024, 512, np.int32) for i in range(8)]
    seconds = []
    for _ in range(3):
        started = time.process_time()
        score_tokens(scorers.of(model), model, as_tokens(ids))
        seconds.append(time.process_time() - started)
    print(json.dumps({"load": loaded, "score": peak, "seconds": min(seconds)}))


def _measured(folder: Path, in_codes: bool) -> dict[str, Any]:
    flag = f"--in_codes={str(in_codes).lower()}"
    command = [sys.executable, __file__, f"--child={folder}", flag]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(_: list[str]) -> None:
    if _CHILD.value:
        _child(Path(_CHILD.value), _IN_CODES.value)
        return
    rows = []
    heads = ("file", "float32", "load", "score", "decoded")
    print("format    " + "".join(f" {head:>7}" for head in heads) + " MB  time")
    for name in _FORMATS.value:
        with tempfile.TemporaryDirectory() as folder:
            count = _write(Path(folder), name, _WIDTH.value, _LAYERS.value)
            coded = _measured(Path(folder), True)
            decoded = _measured(Path(folder), False)
            [file] = (one for one in Path(folder).iterdir() if one.name.startswith("model."))
            size = file.stat().st_size
        row = {"format": name, "file": size, "float32": 4 * count, **coded}
        slower = coded["seconds"] / decoded["seconds"]
        rows.append({**row, "decoded": decoded["load"], "slower": slower})
        cells = [f"{rows[-1][key] / 1e6:.0f}" for key in ("file", "float32", "load", "score")]
        print(f"{name:<10} {cells[0]:>7} {cells[1]:>7} {cells[2]:>7} {cells[3]:>7} "
              f"{decoded['load'] / 1e6:>7.0f} {slower:>8.2f}")  # fmt: skip
    if _OUT.value:
        write_atomic(Path(_OUT.value), (json.dumps(rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    app.run(main)
