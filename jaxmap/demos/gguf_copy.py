"""Writes a GPT-NeoX checkpoint as a GGUF file, as llama.cpp's converter and quantiser do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 32  # weights that share a scale


def write_gguf(folder: Path, path: Path, kind: str) -> None:
    """Writes the model in `folder` to one file, with its tokenizer in the metadata.

    Args:
      folder: a checkpoint of type gpt_neox with a byte-level BPE tokenizer.json.
      path: the file, which is there whole or not at all.
      kind: "Q8_0" or "Q4_0", the type of matrices whose rows are whole blocks of 32 weights; the
        unembedding is always in Q8_0, other matrices are in float16, the rest in float32.
    """
    import gguf
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text("utf-8"))
    temporary = path.with_name(f".{path.name}.new")
    writer = GGUFWriter(temporary, "gptneox")
    writer.add_name(path.stem)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{kind}"])
    heads, width = config["num_attention_heads"], config["hidden_size"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_rope_dimension_count(int(config["rotary_pct"] * (width // heads)))
    writer.add_rope_freq_base(config["rotary_emb_base"])
    writer.add_parallel_residual(config["use_parallel_residual"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    _add_tokenizer(writer, folder, config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPTNEOX, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert own is not None, name
        if ".query_key_value." in name:
            tensor = _queries_first(tensor, heads)
        if tensor.ndim == 1:
            writer.add_tensor(own, tensor.astype(np.float32))
        elif tensor.shape[-1] % BLOCK:
            writer.add_tensor(own, tensor.astype(np.float16))
        else:
            number = GGMLQuantizationType["Q8_0" if own.startswith("output.") else kind]
            data = gguf.quants.quantize(tensor.astype(np.float32), number)
            writer.add_tensor(own, data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(path)


def _queries_first(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Each head's query, key and value become all queries, all keys, all values."""
    parts = tensor.reshape(heads, 3, -1, *tensor.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(0, 1).reshape(tensor.shape))


def _add_tokenizer(writer: Any, folder: Path, vocabulary: int) -> None:
    from gguf import TokenType

    facts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    special = {one["id"]: one["content"] for one in facts["added_tokens"]}
    of_id = {number: token for token, number in facts["model"]["vocab"].items()} | special
    tokens = [of_id.get(number, f"[PAD{number}]") for number in range(vocabulary)]
    kinds = [
        TokenType.CONTROL
        if number in special
        else TokenType.NORMAL
        if number in of_id
        else TokenType.UNUSED
        for number in range(vocabulary)
    ]
    merges = facts["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    (end,) = special
    for name in ("bos", "eos", "unk"):
        getattr(writer, f"add_{name}_token_id")(end)
    writer.add_add_bos_token(False)
