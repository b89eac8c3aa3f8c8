"""Tiny models whose mixers carry a state from token to token: RWKV, Griffin, xLSTM and others."""

from __future__ import annotations

from typing import Any

_RWKV = dict(
    model_type="rwkv",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    intermediate_size=52,
    rescale_every=0,
)
_GRIFFIN = dict(
    model_type="recurrent_gemma",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=1,
    intermediate_size=104,
    attention_window_size=11,
)
# The norm of what a head reads magnifies the roundings where it reads next to nothing: with an
# epsilon of 1e-6 PyTorch's own float32 logits of such a model were seen to be 1.3e-3 off float64.
_EPS = 1e-2
_NEXT = dict(
    model_type="qwen3_next",
    rms_norm_eps=_EPS,
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    intermediate_size=52,
    max_position_embeddings=128,
    full_attention_interval=2,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=12,
    linear_value_head_dim=18,
    linear_conv_kernel_dim=4,
    num_experts=6,
    num_experts_per_tok=2,
    moe_intermediate_size=20,
    shared_expert_intermediate_size=12,
)
_QWEN3_5 = {key: value for key, value in _NEXT.items() if "exp" not in key and "moe" not in key}
_QWEN3_5 |= dict(
    model_type="qwen3_5_text",
    rope_parameters={
        "rope_type": "default",
        "rope_theta": 500.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    },
)
_QWEN3_5_MOE = {**_NEXT, "model_type": "qwen3_5_moe_text"}
del _QWEN3_5_MOE["intermediate_size"]

_XLSTM = dict(
    model_type="xlstm",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_heads=4,
    v_dim_factor=1.2,
    ffn_proj_factor=1.3,
    ffn_round_up_to_multiple_of=4,
    chunk_size=16,
    gate_soft_cap=3.0,
    output_logit_soft_cap=5.0,
    pad_token_id=0,
    use_cache=False,  # the reference's has multiples of 64 channels
)

CASES: dict[str, dict[str, Any]] = {
    "rwkv": _RWKV,
    # Halved three times in four layers; the epsilon is what notices.
    "rwkv-rescaled": {
        **_RWKV,
        "num_hidden_layers": 4,
        "rescale_every": 1,
        "layer_norm_epsilon": 0.1,
    },
    "rwkv-eps": {**_RWKV, "layer_norm_epsilon": 0.3},
    "rwkv-narrow": {
        **_RWKV,
        "attention_hidden_size": 28,
        "intermediate_size": None,
        "use_cache": False,  # the reference has no cache for another width
    },
    "rwkv-tied": {**_RWKV, "tie_word_embeddings": True},
    "recurrent_gemma": _GRIFFIN,
    "recurrent_gemma-attention-first": {
        **_GRIFFIN,
        "block_types": ["attention", "recurrent"],
        "num_key_value_heads": 2,
        "attention_bias": True,
    },
    "recurrent_gemma-wide": {**_GRIFFIN, "lru_width": 48, "conv1d_width": 3},
    "recurrent_gemma-untied": {**_GRIFFIN, "tie_word_embeddings": False, "logits_soft_cap": 2.0},
    "recurrent_gemma-exact-gelu": {
        **_GRIFFIN,
        "block_types": ["recurrent", "attention"],
        "num_hidden_layers": 2,
        "hidden_activation": "gelu",
        "rms_norm_eps": 0.3,
    },
    "recurrent_gemma-rope": {
        **_GRIFFIN,
        "num_hidden_layers": 3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 500.0,
            "partial_rotary_factor": 1.0,
        },
    },
    "qwen3_next": _NEXT,
    "qwen3_next-dense-layers": {
        **_NEXT,
        "mlp_only_layers": [0],
        "decoder_sparse_step": 2,
        "layer_types": ["full_attention", "linear_attention", "linear_attention"],
        "norm_topk_prob": False,
    },
    "qwen3_next-options": {
        **_NEXT,
        "attention_bias": True,
        "tie_word_embeddings": True,
        "rms_norm_eps": 0.3,
        "linear_conv_kernel_dim": 2,
        "linear_num_value_heads": 2,
        "linear_value_head_dim": 8,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 500.0,
            "partial_rotary_factor": 0.5,
        },
    },
    "xlstm": _XLSTM,
    "xlstm-biases": {**_XLSTM, "use_bias": True, "norm_eps": 0.3, "eps": 0.2, "chunk_size": 64},
    "xlstm-default-caps": {
        **_XLSTM,
        "gate_soft_cap": 15.0,
        "output_logit_soft_cap": 30.0,
        "qk_dim_factor": 0.8,
    },
    "qwen3_5_text": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5_MOE,
}

# Cases of single keys, which `make test-all` runs.
SLOW = {
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "rwkv-eps",
    "rwkv-narrow",
    "rwkv-tied",
    "xlstm-biases",
    "xlstm-default-caps",
    "recurrent_gemma-attention-first",
    "recurrent_gemma-untied",
    "recurrent_gemma-exact-gelu",
    "recurrent_gemma-rope",
    "qwen3_next-dense-layers",
    "qwen3_next-options",
}
