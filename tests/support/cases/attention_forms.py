"""Types whose attention has gates or convolutions, or whose layers differ or run several times."""

from __future__ import annotations

from typing import Any

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=14,  # not 40 / 4
    intermediate_size=24,
    max_position_embeddings=128,
    pad_token_id=0,
)
_EXPERTS = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20)
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}

_LAGUNA = {
    **_SIZES,
    **_EXPERTS,
    "model_type": "laguna",
    "shared_expert_intermediate_size": 12,
    "sliding_window": 11,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    "num_attention_heads_per_layer": [4, 6, 6],
    "mlp_layer_types": ["sparse", "dense", "sparse"],
    "moe_router_logit_softcapping": 0.9,
    "moe_routed_scaling_factor": 1.7,
    "rope_parameters": {
        "full_attention": {**_YARN, "partial_rotary_factor": 0.6},
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": 70.0,
            "partial_rotary_factor": 1.0,
        },
    },
}
_LFM3 = {
    **_SIZES,
    "model_type": "lfm3",
    "num_hidden_layers": 4,
    "layer_types": ["conv", "sliding_attention", "full_attention", "conv"],
    "sliding_window": 11,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_BEAM = {
    **_SIZES,
    **_EXPERTS,
    "model_type": "beam",
    "n_group": 3,
    "topk_group": 2,
    "sliding_window": 11,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "final_logit_softcapping": 5.0,
}
_BAILING = {
    **_SIZES,
    **_EXPERTS,
    "model_type": "bailing_hybrid",
    "num_key_value_heads": 4,
    "head_dim": 9,
    "eos_token_id": 1,
    "n_group": 3,
    "topk_group": 2,
    "kv_lora_rank": 18,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 10,
    "v_head_dim": 12,
    "first_k_dense_replace": 1,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}

_ZAYA = {
    **{key: value for key, value in _SIZES.items() if key != "intermediate_size"},
    "model_type": "zaya",
    "num_experts": 3,
    "moe_intermediate_size": 20,
    "router_hidden_size": 10,
    "cca_time0": 3,
    "cca_time1": 2,
    "layer_types": ["hybrid", "hybrid_sliding", "hybrid"],
    "sliding_window": 11,
    "eos_token_id": 1,
}
_HRM = {
    **{key: value for key, value in _SIZES.items() if key != "num_key_value_heads"},
    "model_type": "hrm_text",
    "num_hidden_layers": 1,  # of each of two stacks
    "H_cycles": 2,
    "L_cycles": 2,
    "embedding_scale": 30.0,
}
_HALF = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.7}

CASES: dict[str, dict[str, Any]] = {
    "laguna": _LAGUNA,
    "laguna-defaults": {
        **_LAGUNA,
        "attention_bias": True,
        "gating": "per-element",
        "layer_types": None,
        "mlp_layer_types": None,
        "moe_router_logit_softcapping": 0.0,
        "num_attention_heads_per_layer": None,
        "rms_norm_eps": 0.3,
        "rope_parameters": None,
        "tie_word_embeddings": True,
    },
    "lfm3": _LFM3,
    "lfm3-options": {
        **_LFM3,
        "num_hidden_layers": 5,
        "attention_bias": True,
        "conv_bias": True,
        "conv_L_cache": 4,
        "layer_types": None,
        "norm_eps": 0.3,
        "tie_word_embeddings": False,
        "use_attention_gate": False,
        "use_sandwich_norm": False,
    },
    "beam": _BEAM,
    "beam-options": {
        **_BEAM,
        "num_hidden_layers": 4,
        "attention_bias": True,
        "final_logit_softcapping": None,
        "layer_types": None,
        "mlp_layer_types": None,
        "n_group": 1,
        "norm_topk_prob": False,
        "rms_norm_eps": 0.3,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500.0},
            "sliding_attention": None,
        },
        "tie_word_embeddings": True,
        "topk_group": 1,
    },
    "zaya": _ZAYA,
    "zaya-options": {
        **_ZAYA,
        "attention_bias": True,
        "cca_time0": 2,
        "cca_time1": 4,
        "layer_types": None,
        "lm_head_bias": True,
        "num_key_value_heads": 1,
        "rms_norm_eps": 0.3,
        "rope_parameters": {"hybrid": _HALF, "hybrid_sliding": _HALF},
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
    "hrm_text": _HRM,
    "hrm_text-options": {
        **_HRM,
        "num_hidden_layers": 2,
        "H_cycles": 1,
        "L_cycles": 3,
        "attention_bias": True,
        "embedding_scale": None,
        "mlp_bias": True,
        "rms_norm_eps": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 77.0},
        "tie_word_embeddings": True,
    },
    "bailing_hybrid": _BAILING,
    "bailing_hybrid-options": {
        **_BAILING,
        "attention_bias": True,
        "kda_safe_gate": False,
        "layer_group_size": 2,
        "layer_types": None,
        "n_group": 1,
        "n_shared_experts": 2,
        "norm_topk_prob": False,
        "num_experts_per_tok": 2,
        "q_lora_rank": 14,
        "rms_norm_eps": 0.3,
        "rope_parameters": {**_YARN, "mscale": 1.0, "mscale_all_dim": 0.5},
        "short_conv_kernel_size": 3,
        "tie_word_embeddings": True,
        "topk_group": 1,
    },
}
