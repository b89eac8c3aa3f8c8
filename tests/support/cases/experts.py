"""Families with routed experts and with latent attention."""

from __future__ import annotations

from typing import Any

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=14,
    intermediate_size=24,
    max_position_embeddings=128,
)
_MIXTRAL = {**_SIZES, "model_type": "mixtral", "num_local_experts": 5, "num_experts_per_tok": 2}
_QWEN2 = {
    **_SIZES,
    "model_type": "qwen2_moe",
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
    "shared_expert_intermediate_size": 28,
}
_QWEN3 = {
    **_SIZES,
    "model_type": "qwen3_moe",
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
}
_OLMOE = {
    **_SIZES,
    "model_type": "olmoe",
    "head_dim": 10,
    "num_experts": 6,
    "num_experts_per_tok": 3,
}
_PHI = {**_SIZES, "model_type": "phimoe", "num_local_experts": 5}
_GRANITE = {**_SIZES, "model_type": "granitemoe", "num_local_experts": 5, "num_experts_per_tok": 2}
_GPT_OSS = {
    **_SIZES,
    "model_type": "gpt_oss",
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 9,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 500.0,
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 32,
    },
}
_DEEPSEEK = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    intermediate_size=24,
    max_position_embeddings=128,
    n_routed_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=20,
    q_lora_rank=18,
    kv_lora_rank=22,
    qk_nope_head_dim=12,
    qk_rope_head_dim=6,
    v_head_dim=10,
    first_k_dense_replace=1,
)
_V2 = {**_DEEPSEEK, "model_type": "deepseek_v2"}
_V3 = {**_DEEPSEEK, "model_type": "deepseek_v3", "n_group": 4, "topk_group": 2}
_ERNIE = {
    **_SIZES,
    "model_type": "ernie4_5_moe",
    "num_hidden_layers": 3,
    "moe_num_experts": 6,
    "moe_k": 3,
    "moe_intermediate_size": 20,
}
_GLM = {
    **_SIZES,
    "model_type": "glm4_moe",
    "n_routed_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "mscale": 0.7,
    "mscale_all_dim": 0.9,
    "original_max_position_embeddings": 32,
}
# All texts of the tests fit into the original length: beyond it, see tests/test_parity_experts.py.
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "original_max_position_embeddings": 120,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    "short_mscale": 1.3,
    "long_mscale": 0.8,
}

CASES: dict[str, dict[str, Any]] = {
    "mixtral": _MIXTRAL,
    "mixtral-window": {**_MIXTRAL, "sliding_window": 11},
    "mixtral-one-expert": {**_MIXTRAL, "num_experts_per_tok": 1},
    "mixtral-all-experts": {**_MIXTRAL, "num_experts_per_tok": 5},
    "mixtral-gelu": {**_MIXTRAL, "hidden_act": "gelu"},
    "mixtral-tied": {**_MIXTRAL, "tie_word_embeddings": True},
    "qwen2_moe": _QWEN2,
    "qwen2_moe-renormed": {**_QWEN2, "norm_topk_prob": True},
    "qwen2_moe-no-bias": {**_QWEN2, "qkv_bias": False},
    "qwen2_moe-every-second": {**_QWEN2, "num_hidden_layers": 3, "decoder_sparse_step": 2},
    "qwen2_moe-dense-layers": {**_QWEN2, "num_hidden_layers": 3, "mlp_only_layers": [1]},
    "qwen2_moe-windows": {
        **_QWEN2,
        "num_hidden_layers": 3,
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 2,
    },
    "qwen2_moe-layer-types": {
        **_QWEN2,
        "use_sliding_window": True,
        "sliding_window": 9,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "qwen3_moe": _QWEN3,
    "qwen3_moe-renormed": {**_QWEN3, "norm_topk_prob": True},
    "qwen3_moe-biases": {**_QWEN3, "attention_bias": True},
    "qwen3_moe-dense-layers": {**_QWEN3, "num_hidden_layers": 3, "mlp_only_layers": [0, 2]},
    "qwen3_moe-windows": {**_QWEN3, "use_sliding_window": True, "sliding_window": 9},
    "olmoe": _OLMOE,
    "olmoe-renormed": {**_OLMOE, "norm_topk_prob": True},
    "olmoe-clipped": {**_OLMOE, "clip_qkv": 0.4},
    "olmoe-biases": {**_OLMOE, "attention_bias": True},
    "phimoe": _PHI,
    "phimoe-biases": {**_PHI, "attention_bias": True, "lm_head_bias": True},
    "phimoe-jitter": {**_PHI, "router_jitter_noise": 0.4},
    "phimoe-window": {**_PHI, "sliding_window": 11},
    "phimoe-longrope": {**_PHI, "rope_parameters": _LONGROPE},
    "granitemoe": _GRANITE,
    "granitemoe-factors": {
        **_GRANITE,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "attention_multiplier": 0.2,
        "logits_scaling": 2.5,
        "attention_bias": True,
        "tie_word_embeddings": True,
    },
    "gpt_oss": _GPT_OSS,
    "gpt_oss-limit": {**_GPT_OSS, "swiglu_limit": 0.5},
    "gpt_oss-alpha": {**_GPT_OSS, "swiglu_alpha": 0.7},
    "gpt_oss-no-bias": {**_GPT_OSS, "attention_bias": False},
    "gpt_oss-layer-types": {
        **_GPT_OSS,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "deepseek_v2": _V2,
    "deepseek_v2-whole-queries": {**_V2, "q_lora_rank": None},
    "deepseek_v2-groups": {
        **_V2,
        "topk_method": "group_limited_greedy",
        "n_group": 4,
        "topk_group": 2,
        "routed_scaling_factor": 2.5,
    },
    "deepseek_v2-shared": {**_V2, "n_shared_experts": 1, "first_k_dense_replace": 2},
    "deepseek_v2-biases": {**_V2, "attention_bias": True, "mlp_bias": True},
    "deepseek_v2-yarn": {**_V2, "rope_parameters": _YARN},
    "deepseek_v2-eps": {**_V2, "rms_norm_eps": 0.3},
    "deepseek_v3": _V3,
    "deepseek_v3-whole-queries": {**_V3, "q_lora_rank": None},
    "deepseek_v3-one-group": {**_V3, "n_group": 1, "topk_group": 1},
    "deepseek_v3-raw-weights": {**_V3, "norm_topk_prob": False, "routed_scaling_factor": 0.7},
    "deepseek_v3-halves": {**_V3, "rope_interleave": False},
    "deepseek_v3-biases": {**_V3, "attention_bias": True},
    "deepseek_v3-yarn": {**_V3, "rope_parameters": _YARN},
    "deepseek_v3-linear-rope": {
        **_V3,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5},
    },
    "ernie4_5_moe": _ERNIE,
    "ernie4_5_moe-biases": {**_ERNIE, "use_bias": True, "tie_word_embeddings": False},
    "ernie4_5_moe-biases-tied": {**_ERNIE, "use_bias": True},
    "ernie4_5_moe-no-shared": {**_ERNIE, "moe_num_shared_experts": 0},
    "ernie4_5_moe-least": {**_ERNIE, "moe_norm_min": 0.7},
    "ernie4_5_moe-layers": {
        **_ERNIE,
        "num_hidden_layers": 4,
        "moe_layer_start_index": 0,
        "moe_layer_end_index": 2,
        "moe_layer_interval": 2,
    },
    "glm4_moe": _GLM,
    "glm4_moe-qk-norm": {**_GLM, "use_qk_norm": True, "attention_bias": True},
    "glm4_moe-groups": {**_GLM, "n_group": 3, "topk_group": 2, "routed_scaling_factor": 1.7},
    "glm4_moe-shared": {**_GLM, "n_shared_experts": 2, "first_k_dense_replace": 0},
    "glm4_moe-whole-heads": {
        **_GLM,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 500.0,
            "partial_rotary_factor": 1.0,
        },
    },
}
