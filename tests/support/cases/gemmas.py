"""Tiny configurations of Gemma 3n and Gemma 4."""

from __future__ import annotations

from typing import Any

_NEAR, _FULL = "sliding_attention", "full_attention"
# Five layers of their own and three that use the keys and values of the fourth and the fifth.
_GEMMA3N = dict(
    model_type="gemma3n_text",
    vocab_size=97,
    vocab_size_per_layer_input=90,  # ids beyond have the embedding of token 0
    hidden_size=40,
    intermediate_size=52,
    num_hidden_layers=7,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=14,
    max_position_embeddings=128,
    sliding_window=11,
    layer_types=[_NEAR, _FULL, _NEAR, _FULL, _NEAR, _NEAR, _FULL],
    num_kv_shared_layers=3,
    hidden_size_per_layer_input=6,
    altup_num_inputs=3,
    laurel_rank=5,
    activation_sparsity_pattern=[0.8, 0.8, 0.3, 0.0, 0.0, 0.0, 0.5],
    rope_parameters={
        _FULL: {"rope_type": "default", "rope_theta": 5000.0},
        _NEAR: {"rope_type": "default", "rope_theta": 70.0},
    },
)

CASES: dict[str, dict[str, Any]] = {
    "gemma3n_text": _GEMMA3N,
    "gemma3n_text-options": {
        **_GEMMA3N,
        "intermediate_size": [52, 52, 44, 44, 52, 60, 60],
        "num_kv_shared_layers": 0,
        "altup_num_inputs": 4,
        "altup_active_idx": 1,
        "altup_correct_scale": False,
        "activation_sparsity_pattern": None,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "hidden_activation": "silu",
        "final_logit_softcapping": 3.0,
        "rms_norm_eps": 0.3,
        "rope_parameters": None,
    },
}
CASES["gemma3n"] = dict(
    model_type="gemma3n",
    text_config=_GEMMA3N,
    vision_config=dict(model_type="gemma3n_vision", hidden_size=8, vocab_size=2),
    audio_config=dict(
        hidden_size=8,
        vocab_size=2,
        conf_num_hidden_layers=1,
        conf_num_attention_heads=2,
        sscp_conv_channel_size=(2, 2),
    ),
)

_GEMMA4 = {key: value for key, value in _GEMMA3N.items() if key not in
           ("altup_num_inputs", "laurel_rank", "activation_sparsity_pattern")}  # fmt: skip
_GEMMA4 |= dict(
    model_type="gemma4_text",
    vocab_size_per_layer_input=97,
    rms_norm_eps=0.1,  # a smaller one lets float32 itself err by 1e-3, on either side
    global_head_dim=20,
    num_global_key_value_heads=1,
    attention_k_eq_v=True,
    use_double_wide_mlp=True,
    rope_parameters={
        _FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.45, "rope_theta": 5000.0},
        _NEAR: {"rope_type": "default", "rope_theta": 70.0},
    },
)
CASES |= {
    "gemma4_text": _GEMMA4,
    "gemma4_text-options": {
        **_GEMMA4,
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
        "attention_k_eq_v": False,
        "use_double_wide_mlp": False,
        "final_logit_softcapping": 3.0,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rms_norm_eps": 0.1,
        "rope_parameters": None,
    },
    "gemma4_text-no-windows": {
        **_GEMMA4,
        "num_hidden_layers": 2,
        "layer_types": [_FULL, _FULL],
        "num_kv_shared_layers": 0,
    },
    "gemma4_text-experts": {
        **_GEMMA4,
        "enable_moe_block": True,
        "num_experts": 5,
        "top_k_experts": 3,
        "moe_intermediate_size": 20,
    },
    "gemma4_text-26b": {  # sizes as in the released model with experts: nothing shared or per layer
        **_GEMMA4,
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 0,
        "use_double_wide_mlp": False,
        "use_bidirectional_attention": "vision",
        "enable_moe_block": True,
        "num_experts": 6,
        "top_k_experts": 2,
        "moe_intermediate_size": 12,
        "hidden_activation": "silu",
    },
}
_UNIFIED = {key: value for key, value in _GEMMA4.items() if "per_layer_input" not in key}
CASES |= {
    "gemma4_unified_text": {**_UNIFIED, "model_type": "gemma4_unified_text"},
    "gemma4": dict(
        model_type="gemma4",
        text_config=_GEMMA4,
        vision_config=dict(
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=4,
            global_head_dim=4,
            position_embedding_size=16,
        ),
        audio_config=None,
    ),
}
# As the released one: experts inside the multimodal model.
CASES["gemma4-experts"] = {**CASES["gemma4"], "text_config": CASES["gemma4_text-26b"]}
