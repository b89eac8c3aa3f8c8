"""Types whose pages are a few lines: Llama, Mistral, Qwen3 and DeepSeek-V3 with little changed."""

from __future__ import annotations

from typing import Any

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=14,
    intermediate_size=52,
    max_position_embeddings=128,
)
_ROPE = {"rope_type": "default", "rope_theta": 500.0}
_SEED = {**_SIZES, "model_type": "seed_oss"}
_ARCEE = {**_SIZES, "model_type": "arcee"}
_MINISTRAL = {**_SIZES, "model_type": "ministral", "sliding_window": 11}
# The reference reads the heads' outputs as if head_dim were width / heads.
_HELIUM = {**_SIZES, "model_type": "helium", "head_dim": 10}
_DOTS = {
    **_SIZES,
    "model_type": "dots1",
    "num_hidden_layers": 3,
    "n_routed_experts": 6,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
    "first_k_dense_replace": 1,
}

CASES: dict[str, dict[str, Any]] = {
    "seed_oss": _SEED,
    "seed_oss-biases": {
        **_SEED,
        "attention_bias": False,
        "attention_out_bias": True,
        "mlp_bias": True,
        "rope_parameters": _ROPE,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
    "arcee": _ARCEE,
    "arcee-options": {
        **_ARCEE,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_act": "gelu",
        "rope_parameters": _ROPE,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
    "ministral": _MINISTRAL,
    "ministral-options": {
        **_MINISTRAL,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": _ROPE,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
    "helium": _HELIUM,
    "helium-options": {
        **_HELIUM,
        "attention_bias": True,
        "mlp_bias": True,
        "rope_parameters": _ROPE,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
    "dots1": _DOTS,
    "dots1-options": {
        **_DOTS,
        "attention_bias": True,
        "norm_topk_prob": True,
        "n_group": 3,
        "topk_group": 2,
        "routed_scaling_factor": 1.7,
        "n_shared_experts": 2,
        "sliding_window": 9,
        "max_window_layers": 1,
        "rope_parameters": _ROPE,
        "rms_norm_eps": 0.3,
    },
}

# Which `make test-all` runs: cases of further keys, and types like those of other cases.
SLOW = {name for name in CASES if "-" in name} | {"arcee", "helium", "seed_oss"}
