"""Types in which an indexer chooses the keys of each query, and their dense relatives.

The longest of the parity tests' texts has 119 tokens: the last length at which all keys are chosen.
"""

from __future__ import annotations

from typing import Any

from support.cases.experts import _DEEPSEEK, _YARN

_INDEXER = dict(index_topk=119, index_n_heads=3, index_head_dim=10)
_V32 = {
    **_DEEPSEEK,
    **_INDEXER,
    "model_type": "deepseek_v32",
    "n_group": 4,
    "topk_group": 2,
}
_GLM = {**_DEEPSEEK, **_INDEXER, "model_type": "glm_moe_dsa"}
_AXK1 = {**_DEEPSEEK, "model_type": "axk1", "n_group": 4, "topk_group": 2}

_M3 = dict(
    model_type="minimax_m3_vl_text",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=14,
    intermediate_size=20,
    dense_intermediate_size=24,
    shared_intermediate_size=28,
    max_position_embeddings=128,
    num_local_experts=6,
    num_experts_per_tok=3,
    swiglu_limit=1.1,
    layer_types=["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
    mlp_layer_types=["dense", "sparse", "sparse"],
    index_n_heads=2,
    index_head_dim=14,
    index_block_size=17,
    index_topk_blocks=7,
    rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.6),
)

_HY = {
    **_DEEPSEEK,
    **_INDEXER,
    "model_type": "hy_v4",
    "pad_token_id": 0,
    "swiglu_limit": 0.7,
    "hc_mult": 3,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "indexer_types": ["full", "shared", "full"],
}
_AXK2 = {**_DEEPSEEK, **_INDEXER, "model_type": "axk2", "gated_norm_rank": 7}
_HY_VL = dict(
    model_type="hy_v4_vl",
    text_config={
        **_HY,
        "model_type": "hy_v4_vl_text",
        "rms_norm_eps": 0.3,
        "rope_parameters": dict(rope_type="default", rope_theta=500.0, mrope_section=[1, 1, 1]),
    },
    vision_config=dict(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        out_hidden_size=40,
        patch_size=14,
        max_image_size=28,
    ),
)
_NEXT_TEXT = dict(
    model_type="glm5_next_text",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=4,
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
    qk_rope_head_dim=0,
    v_head_dim=10,
    swiglu_limit=0.7,
    linear_head_dim=8,
    linear_num_heads=3,
    linear_conv_kernel_dim=3,
    hc_mult=3,
    hc_sinkhorn_iters=4,
    index_topk=115,
    index_kpool=5,
    index_n_heads=3,
    index_head_dim=10,
    layer_types=["linear_attention", "indexed_attention"] * 2,
    mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
    pad_token_id=0,
)
_GLM_NEXT = dict(
    model_type="glm5_next",
    text_config=_NEXT_TEXT,
    vision_config=dict(
        depth=1,
        hidden_size=16,
        num_heads=2,
        intermediate_size=24,
        out_hidden_size=40,
        patch_size=14,
        image_size=28,
        projection_intermediate_size=16,
    ),
)

CASES: dict[str, dict[str, Any]] = {
    "deepseek_v32": _V32,
    "deepseek_v32-yarn": {**_V32, "rope_parameters": _YARN},
    "deepseek_v32-biases": {**_V32, "attention_bias": True, "rms_norm_eps": 0.3},
    "deepseek_v32-raw-weights": {
        **_V32,
        "norm_topk_prob": False,
        "routed_scaling_factor": 0.7,
        "mlp_layer_types": ["sparse", "dense", "sparse"],
    },
    "glm_moe_dsa": {**_GLM, "n_group": 4, "topk_group": 2, "attention_bias": True},
    "glm_moe_dsa-shared": {**_GLM, "indexer_types": ["full", "shared", "full"]},
    "axk1": _AXK1,
    "axk1-halves": {
        **_AXK1,
        "rope_interleave": False,
        "rope_parameters": _YARN,
        "attention_bias": True,
        "mlp_layer_types": ["sparse", "dense", "sparse"],
    },
    "axk2": {**_AXK2, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 2},
    "axk2-one-group": {
        **_AXK2,
        "rope_parameters": _YARN,
        "attention_bias": True,
        "mlp_layer_types": ["sparse", "dense", "sparse"],
    },
    "hy_v4": _HY,
    "hy_v4-factors": {
        **_HY,
        "hc_mult": 2,
        "hc_magnitude": 0.9,
        "hc_eps": 0.1,
        "rms_norm_eps": 0.3,
        "n_group": 4,
        "topk_group": 2,
        "routed_scaling_factor": 0.7,
        "norm_topk_prob": False,
        "attention_bias": True,
        "rope_parameters": _YARN,
        "mlp_layer_types": None,
    },
    "hy_v4_vl": _HY_VL,
    "glm5_next": _GLM_NEXT,
    "glm5_next-factors": {
        **_GLM_NEXT,
        "text_config": {
            **_NEXT_TEXT,
            "linear_lower_bound": None,
            "hc_mult": 2,
            "hc_eps": 0.1,
            "rms_norm_eps": 0.3,
            "n_group": 4,
            "topk_group": 2,
            "attention_bias": True,
            "routed_scaling_factor": 0.7,
            "indexer_types": ["full", "full", "shared", "full"],
        },
    },
    "minimax_m3_vl_text": _M3,
    "minimax_m3_vl_text-factors": {
        **_M3,
        "swiglu_alpha": 0.7,
        "routed_scaling_factor": 0.6,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
        "rope_parameters": None,
    },
}
