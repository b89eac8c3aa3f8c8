"""Sarvam's two mixtures: GLM-4.5's decoder with whole heads rotated, and DeepSeek-V3's.

Sarvam's own files have other names of keys and tensors than those that transformers writes.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v3, glm4_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import KEY_VALUE, QUERY, Row
from jaxmap.model.spec import Spec

PAPER = "Sarvam AI 2026, Sarvam-30B and Sarvam-105B"


def _other_keys(c: Config) -> None:
    """Takes the keys of Sarvam's own config.json where those of transformers are absent."""
    for key, own in {
        "n_routed_experts": "num_experts",
        "n_shared_experts": "num_shared_experts",
        "attention_bias": "use_qkv_bias",
    }.items():
        if own in c:
            c.assume(key, c.peek(own))
            c.first(key, own)
    # What Sarvam's code does with these values is all that it does here.
    c.require("score_function", ("sigmoid",), "sigmoid")
    c.require("moe_router_enable_expert_bias", (True,), True)
    c.require("norm_head", (False,), False)
    c.require("use_bias", (False,), False)
    c.require("use_rmsnorm", (True,), True)
    c.inert("embedding_dropout", "output_dropout", "router_dtype", "q_head_dim")
    c.inert("moe_shared_expert_intermediate_size", "output_router_logits")


def _moe(c: Config) -> Spec:
    _other_keys(c)
    c.assume("partial_rotary_factor", 1.0)
    c.assume("use_qk_norm", True)
    c.assume("rms_norm_eps", 1e-6)
    c.assume("num_key_value_heads", 4)
    c.assume("head_dim", 64)
    c.assume("num_experts_per_tok", 6)
    c.assume("routed_scaling_factor", 2.5)
    if c.peek("rope_parameters") is None and c.peek("rope_scaling") is None:
        c.assume("rope_theta", 8_000_000.0)
    return glm4_moe.spec(c)


def _moe_rows(spec: Spec) -> dict[str, Row]:
    found = glm4_moe.rows(spec)
    attn, mlp = "model.layers.{l}.attention", "model.layers.{l}.mlp"
    q, kv = spec.H * spec.C, spec.G * spec.C
    cuts = {"q": (0, q), "k": (q, q + kv), "v": (q + kv, q + 2 * kv)}
    for letter, (start, stop) in cuts.items():
        layout = QUERY if letter == "q" else KEY_VALUE
        own = Row(f"{attn}.query_key_value.weight", layout, cut=(start, stop, q + 2 * kv))
        path = f"blocks/attn/{letter}/kernel"
        found[path] = dataclasses.replace(found[path], otherwise=own)
    names = {
        "embed": "model.word_embeddings.weight",
        "blocks/attn/q_norm/scale": f"{attn}.query_layernorm.weight",
        "blocks/attn/k_norm/scale": f"{attn}.key_layernorm.weight",
        "blocks/attn/o/kernel": f"{attn}.dense.weight",
        "blocks/mlp/correction": f"{mlp}.gate.expert_bias",
    }
    for path, name in names.items():
        found[path] = dataclasses.replace(found[path], other_names=(name,))
    return found


def _mla(c: Config) -> Spec:
    _other_keys(c)
    c.assume("n_group", 1)
    c.assume("topk_group", 1)
    c.assume("first_k_dense_replace", 1)
    if "q_lora_rank" not in c:  # absent and null are whole queries
        c.assume("q_lora_rank", None)
    return deepseek_v3.spec(c)


FAMILIES = {
    "sarvam_moe": Family(PAPER, _moe, _moe_rows, llama.PREFIX, llama.INERT_TENSORS),
    "sarvam_mla": Family(PAPER, _mla, deepseek_v3.rows, llama.PREFIX, llama.INERT_TENSORS),
}
