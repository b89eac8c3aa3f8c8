"""The rules of llama.cpp's converter: one entry of CONVERTERS an architecture.

What its metadata say of a config.json, and what is done to its tensors. Written from the
converter's side, not from the reader's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Config = dict[str, Any]

Change = Callable[[np.ndarray, Config], np.ndarray]


@dataclass(frozen=True)
class Converter:
    """One architecture: its name, metadata of a config, changes of tensors by a pattern, and
    tensors that are taken apart, by the names of the parts in a layer."""

    name: str
    metadata: Callable[[Config], Config]
    changes: Mapping[str, Change] = field(default_factory=dict)
    parts: Mapping[str, Callable[[np.ndarray, Config], dict[str, np.ndarray]]] = field(
        default_factory=dict
    )


def heads(c: Config) -> int:
    return c.get("num_attention_heads") or c.get("n_head") or c.get("n_heads", 0)


def groups(c: Config) -> int:
    return c.get("num_key_value_heads") or c.get("num_kv_heads") or heads(c)


def permuted(of_keys: bool) -> Change:
    """Neighbours turn together in ggml, halves in Hugging Face."""

    def change(w: np.ndarray, c: Config) -> np.ndarray:
        n = groups(c) if of_keys else heads(c)
        out = np.empty_like(w)
        size = len(w) // n
        for head in range(n):
            for i in range(size // 2):
                out[head * size + 2 * i] = w[head * size + i]
                out[head * size + 2 * i + 1] = w[head * size + size // 2 + i]
        return out

    return change


def each_head(w: np.ndarray, c: Config) -> np.ndarray:
    """Each head's query, key, value become all queries, all keys, all values."""
    n = heads(c)
    size = len(w) // n // 3
    rows = [
        (part + 3 * head) * size + i for part in range(3) for head in range(n) for i in range(size)
    ]
    return w[rows]


def falcon(w: np.ndarray, c: Config) -> np.ndarray:
    H = heads(c)
    G = c["num_kv_heads"] if c["new_decoder_architecture"] else 1
    size = len(w) // (H + 2 * G)
    blocks = w.reshape(H + 2 * G, size, *w.shape[1:])
    own = H // G
    order = [g * (own + 2) + i for g in range(G) for i in range(own)]
    order += [g * (own + 2) + own for g in range(G)] + [g * (own + 2) + own + 1 for g in range(G)]
    return blocks[order].reshape(w.shape)


def plus_one(w: np.ndarray, c: Config) -> np.ndarray:
    return w + 1


def transposed(w: np.ndarray, c: Config) -> np.ndarray:
    return w.T


QK = {r"q_proj\.": permuted(False), r"k_proj\.": permuted(True)}

NORMS = {r"norm\.weight$": plus_one}


def sizes(c: Config) -> Config:
    return {
        "block_count": c.get("num_hidden_layers") or c.get("n_layer") or c.get("n_layers"),
        "context_length": c.get("max_position_embeddings") or c.get("n_positions")
        or c.get("seq_length") or c.get("max_seq_len"),
        "embedding_length": c.get("hidden_size") or c.get("n_embd") or c.get("d_model"),
        "attention.head_count": heads(c),
    }  # fmt: skip


def usual(c: Config) -> Config:
    found = {**sizes(c), "feed_forward_length": c["intermediate_size"],
             "attention.head_count_kv": groups(c)}  # fmt: skip
    if "rms_norm_eps" in c:
        found["attention.layer_norm_rms_epsilon"] = c["rms_norm_eps"]
    eps = next((c[k] for k in ("layer_norm_eps", "norm_epsilon", "norm_eps") if k in c), None)
    if eps is not None:
        found["attention.layer_norm_epsilon"] = eps
    if "rope_theta" in c:
        found["rope.freq_base"] = c["rope_theta"]
    if "head_dim" in c:
        found |= {"attention.key_length": c["head_dim"], "attention.value_length": c["head_dim"]}
    width = c.get("head_dim") or c["hidden_size"] // heads(c)
    share = c.get("partial_rotary_factor", c.get("rotary_pct", 1.0))
    found["rope.dimension_count"] = int(width * share)
    scaling = c.get("rope_scaling") or {}
    if scaling.get("rope_type") in ("linear", "yarn"):
        found["rope.scaling.type"] = scaling["rope_type"]
        found["rope.scaling.factor"] = scaling["factor"]
    if scaling.get("rope_type") in ("yarn", "longrope"):
        trained = scaling.get("original_max_position_embeddings") or c.get(
            "original_max_position_embeddings"
        )
        found["rope.scaling.original_context_length"] = trained
    return found


def experts(c: Config) -> Config:
    found = {
        "expert_count": c.get("num_experts") or c["num_local_experts"],
        "expert_used_count": c["num_experts_per_tok"],
    }
    if "moe_intermediate_size" in c:
        found["expert_feed_forward_length"] = c["moe_intermediate_size"]
    return found


def llama(c: Config) -> Config:
    found = {**usual(c), "vocab_size": c["vocab_size"]}
    if "num_local_experts" in c:
        found |= experts(c)
    if c["model_type"] == "mistral" and c.get("sliding_window"):
        found["attention.sliding_window"] = c["sliding_window"]
    return found


def window(c: Config) -> Config:
    return {**usual(c), "attention.sliding_window": c["sliding_window"]}


def gemma2(c: Config) -> Config:
    return {
        **window(c),
        "attn_logit_softcapping": c["attn_logit_softcapping"],
        "final_logit_softcapping": c["final_logit_softcapping"],
    }


def shared(c: Config) -> Config:
    length = c["shared_expert_intermediate_size"]
    return {**usual(c), **experts(c), "expert_shared_feed_forward_length": length}


def gpt_oss(c: Config) -> Config:
    length = c["intermediate_size"]
    return {**window(c), **experts(c), "expert_feed_forward_length": length}


def gpt2(c: Config) -> Config:
    inner = c.get("n_inner") or 4 * c["n_embd"]
    return {**sizes(c), "feed_forward_length": inner,
            "attention.layer_norm_epsilon": c.get("layer_norm_epsilon", 1e-5)}  # fmt: skip


def starcoder(c: Config) -> Config:
    return {**gpt2(c), "attention.head_count_kv": 1}


def _falcon(c: Config) -> Config:
    return {
        **sizes(c),
        "tensor_data_layout": "jploski",
        "feed_forward_length": 4 * c["hidden_size"],
        "attention.head_count_kv": c["num_kv_heads"] if c["new_decoder_architecture"] else 1,
        "attention.layer_norm_epsilon": c["layer_norm_epsilon"],
    }


def bloom(c: Config) -> Config:
    return {**sizes(c), "feed_forward_length": 4 * c["hidden_size"],
            "attention.head_count_kv": heads(c),
            "attention.layer_norm_epsilon": c["layer_norm_epsilon"]}  # fmt: skip


def parallel(c: Config) -> Config:
    return {**usual(c), "use_parallel_residual": c["use_parallel_residual"]}


def mpt(c: Config) -> Config:
    return {**sizes(c), "feed_forward_length": c["expansion_ratio"] * c["d_model"],
            "attention.layer_norm_epsilon": c["layer_norm_epsilon"],
            "attention.max_alibi_bias": 8.0}  # fmt: skip


def olmo(c: Config) -> Config:
    clip = {"attention.clamp_kqv": c["clip_qkv"]} if c.get("clip_qkv") else {}
    return {**usual(c), "attention.layer_norm_epsilon": 1e-5, **clip}


def granite(c: Config) -> Config:
    return {
        **usual(c),
        "attention.scale": c["attention_multiplier"],
        "embedding_scale": c["embedding_multiplier"],
        "residual_scale": c["residual_multiplier"],
        "logit_scale": c["logits_scaling"],
    }


def cohere(c: Config) -> Config:
    return {**usual(c), "logit_scale": c["logit_scale"], "rope.scaling.type": "none"}


def mamba(c: Config) -> Config:
    return {
        "block_count": c["num_hidden_layers"],
        "context_length": 1 << 20,
        "embedding_length": c["hidden_size"],
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "ssm.conv_kernel": c["conv_kernel"],
        "ssm.inner_size": c["intermediate_size"],
        "ssm.state_size": c["state_size"],
        "ssm.time_step_rank": c["time_step_rank"],
        "attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"],
    }


def both(*metadata: Callable[[Config], Config]) -> Callable[[Config], Config]:
    return lambda c: {key: value for one in metadata for key, value in one(c).items()}


def cohere2(c: Config) -> Config:
    return {**cohere(c), "attention.sliding_window": c["sliding_window"],
            "vocab_size": c["vocab_size"]}  # fmt: skip


def exaone(c: Config) -> Config:
    return {**usual(c), "attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"]}


def fused_by_groups(w: np.ndarray, c: Config) -> dict[str, np.ndarray]:
    """InternLM 2: of each group its queries, its key, its value."""
    H, G = heads(c), groups(c)
    size = len(w) // (H + 2 * G)
    each = H // G + 2
    blocks = [w[i * size : (i + 1) * size] for i in range(H + 2 * G)]
    q = np.concatenate([one for i, one in enumerate(blocks) if i % each < each - 2])
    k = np.concatenate([one for i, one in enumerate(blocks) if i % each == each - 2])
    v = np.concatenate([one for i, one in enumerate(blocks) if i % each == each - 1])
    return {
        "attn_q.weight": permuted(False)(q, c),
        "attn_k.weight": permuted(True)(k, c),
        "attn_v.weight": v,
    }


def gate_and_up(w: np.ndarray, c: Config) -> dict[str, np.ndarray]:
    F = c["intermediate_size"]
    return {"ffn_gate_exps.weight": w[:, :F], "ffn_up_exps.weight": w[:, F:]}


def granite_shared(c: Config) -> Config:
    length = c["shared_intermediate_size"]
    return {**granite(c), **experts(c), "expert_shared_feed_forward_length": length}


def shared_gate_and_up(w: np.ndarray, c: Config) -> dict[str, np.ndarray]:
    F = c["shared_intermediate_size"]
    return {"ffn_gate_shexp.weight": w[:F], "ffn_up_shexp.weight": w[F:]}


def of_latent(w: np.ndarray, c: Config) -> dict[str, np.ndarray]:
    each = w.reshape(heads(c), -1, w.shape[1])
    keys = each[:, : c["qk_nope_head_dim"]]
    values = each[:, c["qk_nope_head_dim"] :]
    return {"attn_k_b.weight": keys.transpose(0, 2, 1), "attn_v_b.weight": values}


def deepseek2(c: Config) -> Config:
    turned, rank = c["qk_rope_head_dim"], c["kv_lora_rank"]
    found = {
        **usual(c), "vocab_size": c["vocab_size"], "attention.head_count_kv": 1,
        "leading_dense_block_count": c["first_k_dense_replace"],
        "attention.kv_lora_rank": rank, "attention.key_length": rank + turned,
        "attention.value_length": rank,
        "attention.key_length_mla": c["qk_nope_head_dim"] + turned,
        "attention.value_length_mla": c["v_head_dim"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_count": c["n_routed_experts"], "expert_used_count": c["num_experts_per_tok"],
        "expert_shared_count": c["n_shared_experts"],
        "expert_weights_scale": c["routed_scaling_factor"], "rope.dimension_count": turned,
        "expert_group_count": c["n_group"], "expert_group_used_count": c["topk_group"],
        "expert_gating_func": 2 if c["model_type"] == "deepseek_v3" else 1,
    }  # fmt: skip
    if c.get("q_lora_rank"):
        found["attention.q_lora_rank"] = c["q_lora_rank"]
    if c.get("norm_topk_prob"):
        found["expert_weights_norm"] = True
    if mscale := (c.get("rope_scaling") or {}).get("mscale_all_dim"):
        found["rope.scaling.yarn_log_multiplier"] = 0.1 * mscale
    return found


QKV = r"(query_key_value)\."

CONVERTERS: dict[str, Converter] = {
    "llama": Converter("llama", llama, QK),
    "mistral": Converter("llama", llama, QK),
    "mixtral": Converter("llama", llama, QK),
    "qwen2": Converter("qwen2", usual),
    "qwen3": Converter("qwen3", usual),
    "qwen2_moe": Converter("qwen2moe", shared),
    "qwen3_moe": Converter("qwen3moe", both(usual, experts)),
    "gemma": Converter("gemma", usual, NORMS),
    "gemma2": Converter("gemma2", gemma2, NORMS),
    "gemma3_text": Converter("gemma3", window, NORMS),
    "phi": Converter("phi2", usual),
    "phi3": Converter("phi3", window),
    "gpt_oss": Converter("gpt-oss", gpt_oss),
    "gpt2": Converter("gpt2", gpt2, {r"(c_attn|c_proj|c_fc)\.weight$": transposed}),
    "gpt_bigcode": Converter("starcoder", starcoder),
    "starcoder2": Converter("starcoder2", usual),
    "falcon": Converter("falcon", _falcon, {QKV: falcon}),
    "bloom": Converter("bloom", bloom, {QKV: each_head}),
    "gpt_neox": Converter("gptneox", parallel, {QKV: each_head}),
    "mpt": Converter("mpt", mpt),
    "stablelm": Converter("stablelm", parallel),
    "olmo": Converter("olmo", olmo, QK),
    "olmo2": Converter("olmo2", usual),
    "olmoe": Converter("olmoe", both(usual, experts)),
    "granite": Converter("granite", granite, QK),
    "cohere": Converter("command-r", cohere),
    "nemotron": Converter("nemotron", usual, NORMS),
    "smollm3": Converter("smollm3", usual, QK),
    "glm4": Converter("glm4", usual),
    "cohere2": Converter("cohere2", cohere2),
    "exaone": Converter("exaone", exaone),
    "internlm2": Converter("internlm2", usual, parts={r"\.wqkv\.": fused_by_groups}),
    "arcee": Converter("arcee", usual, QK),
    "seed_oss": Converter("seed_oss", usual),
    "granitemoe": Converter(
        "granitemoe",
        both(granite, experts),
        QK,
        {r"\.(input_linear\.weight|gate_up_proj)$": gate_and_up},
    ),
    "granitemoeshared": Converter(
        "granitemoe",
        granite_shared,
        QK,
        {
            r"moe\.(input_linear\.weight|experts\.gate_up_proj)$": gate_and_up,
            r"shared_mlp\.input_linear\.weight$": shared_gate_and_up,
        },
    ),
    "deepseek_v2": Converter("deepseek2", deepseek2, parts={r"kv_b_proj\.weight$": of_latent}),
    "deepseek_v3": Converter("deepseek2", deepseek2, parts={r"kv_b_proj\.weight$": of_latent}),
    "mamba": Converter("mamba", mamba, {r"A_log$": lambda w, c: -np.exp(w)}),
}
