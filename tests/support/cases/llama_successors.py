"""Tiny configurations of the Llama line's successors; see families.py.

The reference is `transformers` with sdpa attention, except Gemma 2, whose soft cap needs eager.
"""

from __future__ import annotations

from typing import Any

_BASE = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=52,
    max_position_embeddings=128,
)
_WIDE = {**_BASE, "head_dim": 14}  # not 40 / 4
_NEAR, _FULL = "sliding_attention", "full_attention"


def _kinds(*near: int) -> list[str]:
    return [_NEAR if is_near else _FULL for is_near in near]


def _rope(base: dict, max_position_embeddings: int = 128, **rope: Any) -> dict:
    return {
        **base,
        "max_position_embeddings": max_position_embeddings,
        "rope_parameters": {"rope_theta": 500.0, **rope},
    }


_LLAMA3_STRETCH = dict(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
_GEMMA = {**_WIDE, "model_type": "gemma"}
# Caps near the scores and logits of a random model, so that they bend them.
_GEMMA2 = {
    **_WIDE,
    "model_type": "gemma2",
    "sliding_window": 11,
    "query_pre_attn_scalar": 9,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
}
_GEMMA3 = {
    **_WIDE,
    "model_type": "gemma3_text",
    "num_hidden_layers": 4,
    "sliding_window": 11,
    "query_pre_attn_scalar": 9,
    "layer_types": _kinds(1, 1, 0, 1),
    "rope_parameters": {
        _FULL: {"rope_type": "linear", "factor": 3.0, "rope_theta": 5000.0},
        _NEAR: {"rope_type": "default", "rope_theta": 70.0},
    },
}
_TINY_SIGHT = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=28,
    patch_size=14,
)
_GEMMA3_WITH_SIGHT = dict(
    model_type="gemma3",
    text_config=_GEMMA3,
    vision_config=_TINY_SIGHT,
    mm_tokens_per_image=4,
    image_token_index=96,
)
_QWEN3 = {**_WIDE, "model_type": "qwen3"}
_PHI3 = {**_BASE, "model_type": "phi3", "pad_token_id": 0}
_OLMO = {**_BASE, "model_type": "olmo"}
_OLMO2 = {**_BASE, "model_type": "olmo2"}
_OLMO3 = {
    **_BASE,
    "model_type": "olmo3",
    "num_hidden_layers": 4,
    "sliding_window": 11,
    "rope_parameters": {
        _FULL: {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32,
            "attention_factor": 1.2,
            "rope_theta": 600.0,
        },
        _NEAR: {"rope_type": "default", "rope_theta": 70.0},
    },
}
_COHERE = {**_BASE, "model_type": "cohere", "logit_scale": 0.3}
_COHERE2 = {
    **_BASE,
    "model_type": "cohere2",
    "num_hidden_layers": 4,
    "logit_scale": 0.3,
    "sliding_window": 11,
}
_GRANITE = {
    **_BASE,
    "model_type": "granite",
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.2,
    "logits_scaling": 2.5,
}
_HYPERCLOVAX = {**_GRANITE, **_WIDE, "model_type": "hyperclovax", "logits_scaling": 0.4}
_GLM = {**_WIDE, "model_type": "glm", "pad_token_id": 0}
_GLM4 = {**_GLM, "model_type": "glm4"}
_SMOLLM3 = {**_BASE, "model_type": "smollm3", "num_hidden_layers": 4, "pad_token_id": 0}
_NEMOTRON = {**_WIDE, "model_type": "nemotron"}
_EXAONE4 = {**_WIDE, "model_type": "exaone4", "num_hidden_layers": 4, "sliding_window": 11}
_ERNIE = {**_WIDE, "model_type": "ernie4_5"}

_INTERNLM3 = {**_WIDE, "model_type": "internlm3"}  # the reference builds a Llama

CASES: dict[str, dict[str, Any]] = {
    "gemma": _GEMMA,
    "gemma-gelu-means-tanh": {**_GEMMA, "hidden_act": "gelu"},
    "gemma-relu": {**_GEMMA, "hidden_act": "relu"},
    "gemma-untied-biases": {**_GEMMA, "tie_word_embeddings": False, "attention_bias": True},
    "gemma-eps": {**_GEMMA, "rms_norm_eps": 0.3},
    "gemma-rope": _rope(_GEMMA, rope_type="linear", factor=3.0),
    "gemma2": _GEMMA2,
    "gemma2-no-caps": {
        **_GEMMA2,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    },
    "vaultgemma": {**_GEMMA2, "model_type": "vaultgemma"},
    "cwm": {
        **_rope(_WIDE, rope_type="llama3", **_LLAMA3_STRETCH),
        "model_type": "cwm",
        "num_hidden_layers": 5,
        "sliding_window": 11,
        "mlp_bias": True,
    },
    "cwm-layer-types": {**_WIDE, "model_type": "cwm", "layer_types": _kinds(0, 1, 0)},
    "gemma2-layer-types": {**_GEMMA2, "layer_types": _kinds(0, 1, 1)},
    "gemma2-options": {
        **_rope(_GEMMA2, rope_type="default"),
        "attention_bias": True,
        "tie_word_embeddings": False,
        "hidden_activation": "gelu",
        "rms_norm_eps": 0.3,
    },
    "gemma3_text": _GEMMA3,
    "gemma3_text-pattern": {**_GEMMA3, "layer_types": None, "sliding_window_pattern": 2},
    "gemma3_text-defaults": {**_GEMMA3, "rope_parameters": None, "layer_types": None},
    "gemma3_text-options": {
        **_GEMMA3,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "hidden_activation": "silu",
        "final_logit_softcapping": 3.0,
        "rms_norm_eps": 0.3,
    },
    "gemma3": _GEMMA3_WITH_SIGHT,
    "gemma3-untied": {**_GEMMA3_WITH_SIGHT, "tie_word_embeddings": False},
    "qwen3": _QWEN3,
    "qwen3-biases": {**_QWEN3, "attention_bias": True},
    "qwen3-eps": {**_QWEN3, "rms_norm_eps": 0.3, "hidden_act": "gelu"},
    "qwen3-tied": {**_QWEN3, "tie_word_embeddings": True},
    "qwen3-windows": {
        **_QWEN3,
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 1,
    },
    "qwen3-rope": _rope(_QWEN3, rope_type="yarn", factor=4.0, original_max_position_embeddings=32),
    "phi3": _PHI3,
    "phi3-window": {**_PHI3, "sliding_window": 11},
    "phi3-no-grouping": {**_PHI3, "num_key_value_heads": None, "rms_norm_eps": 0.3},
    "phi3-rope-share": _rope(_PHI3, rope_type="default", partial_rotary_factor=0.6),
    "phi3-tied-gelu": {**_PHI3, "tie_word_embeddings": True, "hidden_act": "gelu"},
    # Some texts are shorter, some longer than 40 tokens: both sets of factors are used.
    "phi3-longrope": {
        **_rope(
            _PHI3,
            rope_type="longrope",
            partial_rotary_factor=0.8,
            short_factor=[1.0, 1.1, 1.2, 1.3],
            long_factor=[1.0, 2.0, 3.0, 4.0],
        ),
        "original_max_position_embeddings": 40,
    },
    "olmo": _OLMO,
    "olmo-clip": {**_OLMO, "clip_qkv": 0.4},
    "olmo-biases": {
        **_OLMO,
        "attention_bias": True,
        "tie_word_embeddings": True,
        "hidden_act": "gelu",
    },
    "olmo-rope": _rope(_OLMO, rope_type="linear", factor=3.0),
    "olmo2": _OLMO2,
    "olmo2-biases": {**_OLMO2, "attention_bias": True, "tie_word_embeddings": True},
    "olmo2-eps": {**_OLMO2, "rms_norm_eps": 0.3, "hidden_act": "gelu"},
    "olmo2-rope": _rope(_OLMO2, rope_type="linear", factor=3.0),
    "olmo3": _OLMO3,
    "olmo3-layer-types": {**_OLMO3, "layer_types": _kinds(0, 1, 1, 0)},
    "olmo3-options": {
        **_OLMO3,
        "hidden_act": "gelu",
        "rope_parameters": None,
        "attention_bias": True,
        "tie_word_embeddings": True,
        "rms_norm_eps": 0.3,
    },
    "cohere": _COHERE,
    "cohere-qk-norm": {**_COHERE, "use_qk_norm": True, "layer_norm_eps": 0.3},
    "cohere-biases": {
        **_COHERE,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "hidden_act": "gelu",
    },
    "cohere-rope": _rope(_COHERE, rope_type="linear", factor=3.0),
    "cohere2": _COHERE2,
    "cohere2-pattern": {**_COHERE2, "sliding_window_pattern": 2},
    "cohere2-layer-types": {**_COHERE2, "layer_types": _kinds(0, 1, 0, 1)},
    "cohere2-options": {
        **_rope(_COHERE2, rope_type="default"),
        "hidden_act": "gelu",
        "attention_bias": True,
        "tie_word_embeddings": False,
        "layer_norm_eps": 0.3,
    },
    "granite": _GRANITE,
    "granite-biases": {
        **_GRANITE,
        "hidden_act": "gelu",
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "rms_norm_eps": 0.3,
    },
    "granite-rope": _rope(_GRANITE, rope_type="linear", factor=3.0),
    "hyperclovax": _HYPERCLOVAX,
    "hyperclovax-plain": {
        **_rope(_HYPERCLOVAX, rope_type="linear", factor=3.0),
        "hidden_act": "gelu",
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
        "use_post_norm": False,
        "attention_multiplier": None,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "glm": _GLM,
    "glm-no-bias": {**_GLM, "attention_bias": False, "tie_word_embeddings": True},
    "glm-rope-share": _rope(_GLM, rope_type="default", partial_rotary_factor=0.7),
    "glm-eps": {**_GLM, "rms_norm_eps": 0.3, "hidden_act": "gelu"},
    "glm4": _GLM4,
    "glm4-no-bias": {
        **_GLM4,
        "attention_bias": False,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
        "hidden_act": "gelu",
    },
    "glm4-rope-share": _rope(_GLM4, rope_type="linear", factor=3.0, partial_rotary_factor=0.7),
    "smollm3": _SMOLLM3,
    "smollm3-interval": {**_SMOLLM3, "no_rope_layer_interval": 2},
    "smollm3-windows": {
        **_SMOLLM3,
        "no_rope_layers": [0, 1, 1, 0],
        "use_sliding_window": True,
        "sliding_window": 11,
    },
    "smollm3-layer-types": {
        **_SMOLLM3,
        "use_sliding_window": True,
        "sliding_window": 11,
        "layer_types": _kinds(1, 0, 0, 1),
    },
    "smollm3-options": {
        **_rope(_SMOLLM3, rope_type="default"),
        "hidden_act": "gelu",
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": False,
        "rms_norm_eps": 0.3,
    },
    "nemotron": _NEMOTRON,
    "nemotron-biases": {**_NEMOTRON, "attention_bias": True, "mlp_bias": True, "norm_eps": 0.3},
    "nemotron-rope-share": _rope(_NEMOTRON, rope_type="default", partial_rotary_factor=0.7),
    "nemotron-tied-gelu": {**_NEMOTRON, "tie_word_embeddings": True, "hidden_act": "gelu"},
    "exaone4": _EXAONE4,
    "exaone4-pattern": {**_EXAONE4, "sliding_window_pattern": 2},
    "exaone4-no-window": {
        **_EXAONE4,
        "sliding_window": None,
        "layer_types": _kinds(0, 0, 0, 0),
        "tie_word_embeddings": True,
        "rms_norm_eps": 0.3,
        "hidden_act": "gelu",
    },
    "exaone4-global": {**_EXAONE4, "layer_types": _kinds(0, 0, 0, 0)},
    "exaone4-rope": _rope(
        _EXAONE4,
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    ),
    "ernie4_5": _ERNIE,
    "ernie4_5-biases": {**_ERNIE, "use_bias": True, "tie_word_embeddings": False},
    "ernie4_5-rope": _rope(_ERNIE, rope_type="linear", factor=3.0),
    "internlm3": _INTERNLM3,
    "internlm3-biases": {
        **_rope(_INTERNLM3, rope_type="linear", factor=6.0),
        "qkv_bias": True,
        "bias": True,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": True,
        "hidden_act": "gelu",
    },
    "ernie4_5-eps": {**_ERNIE, "rms_norm_eps": 0.3, "hidden_act": "gelu"},
}
