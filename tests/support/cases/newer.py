"""Types that came after the Llama line's first successors: a case for each mechanism that they add.

Texts of the parity tests have up to 119 tokens, so pieces, windows and temperatures change inside.
"""

from __future__ import annotations

from typing import Any

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    max_position_embeddings=128,
    pad_token_id=0,
)
_WIDE = {**_SIZES, "head_dim": 14}  # not 40 / 4
_EXPERTS = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20)
_LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
_PLAIN = {"rope_type": "default", "rope_theta": 500.0}

_APERTUS = {**_WIDE, "model_type": "apertus"}
_HUNYUAN = {**_WIDE, "model_type": "hunyuan_v1_dense", "rope_parameters": _PLAIN}
_HUNYUAN_MOE = {
    **_WIDE,
    "model_type": "hunyuan_v1_moe",
    "rope_parameters": _PLAIN,
    "num_experts": 5,
    "moe_topk": 2,
}
_LLAMA4 = {
    **_WIDE,
    "model_type": "llama4_text",
    "num_hidden_layers": 4,
    "intermediate_size_mlp": 36,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "interleave_moe_layer_step": 2,
    "no_rope_layer_interval": 3,
    "attention_chunk_size": 23,
    "floor_scale": 17,
    "attn_scale": 0.7,
}
_LFM2 = {
    **_SIZES,
    "model_type": "lfm2",
    "num_hidden_layers": 3,
    "layer_types": ["conv", "full_attention", "conv"],
}
_GRANITE = dict(
    embedding_multiplier=3.0,
    residual_multiplier=0.4,
    attention_multiplier=0.2,
    logits_scaling=2.5,
)
_GRANITE_MOE = {**_SIZES, **_GRANITE, "num_local_experts": 5, "num_experts_per_tok": 2}
_SWA = dict(
    num_hidden_layers=4,
    sliding_window=11,
    layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    layer_rope_theta=[700.0, 0, 90.0, 700.0],
)
_EXAONE = {
    **_WIDE,
    **_EXPERTS,
    "model_type": "exaone_moe",
    "num_hidden_layers": 4,
    "sliding_window": 11,
    "num_shared_experts": 2,
    "n_group": 3,
    "topk_group": 2,
}
_MINISTRAL3 = {
    **_WIDE,
    "model_type": "ministral3",
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 600.0,
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 0.5,
        "llama_4_scaling_beta": 0.6,
    },
}

CASES: dict[str, dict[str, Any]] = {
    "apertus": {**_APERTUS, "rope_parameters": _LLAMA3},
    "apertus-defaults": {**_APERTUS, "attention_bias": True, "tie_word_embeddings": True},
    "ministral3": _MINISTRAL3,
    "ministral3-window": {**_MINISTRAL3, "sliding_window": 11, "rms_norm_eps": 0.3},
    "nanochat": {**_SIZES, "model_type": "nanochat", "final_logit_softcapping": 3.0},
    "nanochat-biases": {
        **_SIZES,
        "model_type": "nanochat",
        "attention_bias": True,
        "rms_norm_eps": 0.3,
        "final_logit_softcapping": None,
        "hidden_act": "gelu",
    },
    "bitnet": {**_SIZES, "model_type": "bitnet"},
    "bitnet-options": {
        **_SIZES,
        "model_type": "bitnet",
        "attention_bias": True,
        "tie_word_embeddings": True,
        "rms_norm_eps": 0.3,
        "hidden_act": "silu",
    },
    "hunyuan_v1_dense": _HUNYUAN,
    "hunyuan_v1_dense-alpha": {
        **_HUNYUAN,
        "attention_bias": True,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "dynamic",
            "alpha": 50.0,
            "factor": 1.0,
            "rope_theta": 90.0,
        },
    },
    "hunyuan_v1_moe": _HUNYUAN_MOE,
    "hunyuan_v1_moe-list": {**_HUNYUAN_MOE, "moe_topk": [3, 3], "attention_bias": True},
    "llama4_text": _LLAMA4,
    "llama4_text-one-expert": {
        **_LLAMA4,
        "num_experts_per_tok": 1,
        "moe_layers": [0, 3],
        "no_rope_layers": [1, 0, 0, 1],
        "use_qk_norm": False,
        "attention_bias": True,
        "rope_parameters": _LLAMA3,
    },
    "llama4_text-no-temperature": {
        **_LLAMA4,
        "attn_temperature_tuning": False,
        "attention_chunk_size": None,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
    "lfm2": {**_LFM2, "block_multiple_of": 8},
    "lfm2-untied": {
        **_LFM2,
        "conv_bias": True,
        "conv_L_cache": 4,
        "norm_eps": 0.3,
        "tie_word_embeddings": False,
        "block_auto_adjust_ff_dim": False,
        "rope_parameters": _PLAIN,
    },
    "lfm2_moe": {**_LFM2, **_EXPERTS, "model_type": "lfm2_moe", "num_dense_layers": 1},
    "lfm2_moe-plain": {
        **_LFM2,
        **_EXPERTS,
        "model_type": "lfm2_moe",
        "num_dense_layers": 0,
        "use_expert_bias": False,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.7,
    },
    "flex_olmo": {
        **_SIZES,
        "model_type": "flex_olmo",
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "attention_bias": True,
    },
    "flex_olmo-renormed": {
        **_SIZES,
        "model_type": "flex_olmo",
        "num_experts": 6,
        "norm_topk_prob": True,
        "rms_norm_eps": 0.3,
        "rope_parameters": _PLAIN,
    },
    "granitemoeshared": {
        **_GRANITE_MOE,
        "model_type": "granitemoeshared",
        "shared_intermediate_size": 28,
    },
    "granitemoeshared-none": {**_GRANITE_MOE, "model_type": "granitemoeshared"},
    "granite_swa": {**_SIZES, **_GRANITE, **_SWA, "model_type": "granite_swa"},
    "granite_swa-one-rope": {
        **_SIZES,
        **_GRANITE,
        "model_type": "granite_swa",
        "num_hidden_layers": 5,
        "sliding_window": 9,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "granitemoe_swa": {
        **_GRANITE_MOE,
        **_SWA,
        "model_type": "granitemoe_swa",
        "shared_intermediate_size": 28,
    },
    "minimax_m2": {
        **_WIDE,
        "model_type": "minimax_m2",
        "num_local_experts": 5,
        "num_experts_per_tok": 3,
        "rotary_dim": 8,
    },
    "minimax_m2-whole-rope": {
        **_WIDE,
        "model_type": "minimax_m2",
        "num_local_experts": 5,
        "num_experts_per_tok": 3,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
    "exaone_moe": _EXAONE,
    "exaone_moe-layers": {
        **_EXAONE,
        "mlp_layer_types": ["sparse", "dense", "sparse", "dense"],
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "norm_topk_prob": False,
        "routed_scaling_factor": 0.7,
        "rms_norm_eps": 0.3,
    },
    "glm4_moe_lite": {
        **_SIZES,
        "num_key_value_heads": 4,
        "model_type": "glm4_moe_lite",
        "moe_intermediate_size": 20,
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "kv_lora_rank": 18,
        "q_lora_rank": 22,
        "qk_rope_head_dim": 6,
        "qk_nope_head_dim": 10,
        "v_head_dim": 12,
    },
    "solar_open": {
        **_WIDE,
        "model_type": "solar_open",
        "moe_intermediate_size": 20,
        "n_routed_experts": 6,
        "num_experts_per_tok": 3,
        "attention_bias": True,
        "routed_scaling_factor": 1.7,
    },
    "minimax": {
        **_WIDE,
        "model_type": "minimax",
        "num_hidden_layers": 3,
        "num_local_experts": 5,
        "num_experts_per_tok": 3,
        "block_size": 16,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "full_attn_alpha_factor": 1.3,
        "full_attn_beta_factor": 0.8,
        "linear_attn_alpha_factor": 0.7,
        "linear_attn_beta_factor": 1.2,
        "mlp_alpha_factor": 1.1,
        "mlp_beta_factor": 0.9,
    },
    "minimax-defaults": {
        **_SIZES,
        "model_type": "minimax",
        "num_local_experts": 5,
        "sliding_window": 11,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
    },
}
