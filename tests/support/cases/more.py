"""Further types of transformers' causal list, with a case for each mechanism that they add."""

from __future__ import annotations

from typing import Any

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=128,
)
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "head_dim": 14}
_GPT1 = dict(vocab_size=97, n_embd=40, n_layer=2, n_head=4, n_positions=128)
_PLAIN = {"rope_type": "default", "rope_theta": 500.0}
_LATENT = {
    **_SIZES,
    "num_key_value_heads": 4,
    "q_lora_rank": 18,
    "kv_lora_rank": 22,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 6,
    "v_head_dim": 10,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "mscale": 0.7,
    "mscale_all_dim": 0.9,
    "original_max_position_embeddings": 32,
}

_PERSIMMON = {**_SIZES, "model_type": "persimmon", "hidden_size": 48}
_JAPANESE = {
    **{k: v for k, v in _SIZES.items() if k != "intermediate_size"},
    "model_type": "gpt_neox_japanese",
    "hidden_size": 48,
    "intermediate_multiple_size": 2,
}
_OPENAI = {**_GPT1, "model_type": "openai-gpt"}
_BIOGPT = {**_SIZES, "model_type": "biogpt", "pad_token_id": 1, "layer_norm_eps": 0.3}
_CTRL = {**_GPT1, "model_type": "ctrl", "dff": 24}
_DBRX = dict(
    model_type="dbrx",
    vocab_size=97,
    d_model=40,
    n_heads=4,
    n_layers=2,
    max_seq_len=128,
    rope_parameters=_PLAIN,
    attn_config=dict(kv_n_heads=2, clip_qkv=0.7, rope_theta=500.0),
    ffn_config=dict(ffn_hidden_size=24, moe_num_experts=5, moe_top_k=2),
)
_JAIS2 = {**_SIZES, "model_type": "jais2", "num_key_value_heads": 2}
_IQUEST = {**_GROUPED, "model_type": "iquestcoder"}
_YOUTU = {**_LATENT, "model_type": "youtu"}
_MINICPM3 = {**_LATENT, "model_type": "minicpm3"}
_EXPERTS = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=20)
_FULL, _NEAR = "full_attention", "sliding_attention"
_WINDOWS = dict(num_hidden_layers=3, sliding_window=11, layer_types=[_NEAR, _FULL, _NEAR])
_AFMOE = {
    **_GROUPED,
    **_EXPERTS,
    **_WINDOWS,
    "model_type": "afmoe",
    "route_scale": 1.7,
    "mup_enabled": True,
}
_HY3 = {**_GROUPED, **_EXPERTS, "model_type": "hy_v3"}
_MELLUM = {**_GROUPED, **_EXPERTS, **_WINDOWS, "model_type": "mellum"}
_KOLIBRI = {
    **{k: v for k, v in _GROUPED.items() if k != "intermediate_size"},
    **_EXPERTS,
    **_WINDOWS,
    "model_type": "kolibri1",
    "shared_expert_intermediate_size": 28,
}
_FLINT = {
    **_GROUPED,
    **_EXPERTS,
    "model_type": "flint",
    "num_hidden_layers": 5,  # by default the third and the fourth have a window
    "sliding_window": 11,
    "shared_expert_intermediate_size": 28,
}
_ARIA = {**_GROUPED, "model_type": "aria_text", "moe_num_experts": 6, "moe_topk": 3}
_LARA = {
    **{k: v for k, v in _FLINT.items() if k != "intermediate_size"},
    "model_type": "lara_mini",
    "num_hidden_layers": 4,
    "rms_norm_eps": 1e-2,  # as the cases of Qwen3-Next
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 18,
}
_ROUTED = dict(n_routed_experts=6, num_experts_per_tok=3, moe_intermediate_size=20)
_SARVAM = {**_GROUPED, **_ROUTED, "model_type": "sarvam_moe"}
_SARVAM_MLA = {**_LATENT, **_ROUTED, "model_type": "sarvam_mla", "q_lora_rank": None}
_ETTIN = {
    **_SIZES,
    "model_type": "modernbert-decoder",
    "num_hidden_layers": 4,
    "local_attention": 22,
    "pad_token_id": 0,
}
_COMMAND = {
    **_GROUPED,
    "model_type": "cohere2_moe",
    "num_hidden_layers": 4,
    "num_experts": 5,
    "logit_scale": 0.3,
    "sliding_window": 11,
    "sliding_window_pattern": 3,
    "first_k_dense_replace": 1,
    "prefix_dense_intermediate_size": 36,
    "num_shared_experts": 2,
}
# As many channels of values as of keys: transformers saves the convolutions in equal thirds.
_OLMO = {
    **_SIZES,
    "model_type": "olmo_hybrid",
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "layer_types": ["linear_attention", _FULL, "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 6,
    "pad_token_id": 0,
}

CASES: dict[str, dict[str, Any]] = {
    "persimmon": _PERSIMMON,
    "persimmon-options": {
        **_PERSIMMON,
        "qk_layernorm": False,
        "layer_norm_eps": 0.3,
        "hidden_act": "gelu",
        "tie_word_embeddings": True,
        "rope_parameters": {**_PLAIN, "partial_rotary_factor": 0.34},
    },
    "gpt_neox_japanese": _JAPANESE,
    "gpt_neox_japanese-options": {
        **_JAPANESE,
        "layer_norm_eps": 0.3,
        "hidden_act": "relu",
        "tie_word_embeddings": False,
        "rope_parameters": {**_PLAIN, "partial_rotary_factor": 0.5},
    },
    "openai-gpt": _OPENAI,
    "openai-gpt-options": {
        **_OPENAI,
        "afn": "silu",
        "layer_norm_epsilon": 0.3,
        "tie_word_embeddings": False,
    },
    "biogpt": _BIOGPT,
    "biogpt-options": {
        **_BIOGPT,
        "scale_embedding": False,
        "hidden_act": "relu",
        "tie_word_embeddings": False,
    },
    "ctrl": _CTRL,
    "ctrl-options": {**_CTRL, "layer_norm_epsilon": 0.3, "tie_word_embeddings": False},
    "dbrx": _DBRX,
    "dbrx-raw-weights": {
        **_DBRX,
        "attn_config": dict(clip_qkv=100.0, rope_theta=500.0),
        "ffn_config": dict(
            ffn_hidden_size=24,
            moe_num_experts=5,
            moe_top_k=2,
            moe_normalize_expert_weights=None,
            ffn_act_fn={"name": "gelu"},
        ),
    },
    "jais2": _JAIS2,
    "jais2-options": {
        **_JAIS2,
        "attention_bias": False,
        "mlp_bias": False,
        "layer_norm_eps": 0.3,
        "hidden_act": "gelu",
        "tie_word_embeddings": True,
    },
    "iquestcoder": _IQUEST,
    "youtu": _YOUTU,
    "youtu-options": {
        **_YOUTU,
        "q_lora_rank": None,
        "rope_interleave": False,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rope_parameters": _YARN,
    },
    "minicpm3": _MINICPM3,
    "minicpm3-options": {
        **_MINICPM3,
        "q_lora_rank": None,
        "v_head_dim": None,
        "scale_emb": 3,
        "scale_depth": None,
        "dim_model_base": None,
        "attention_bias": True,
        "mlp_bias": True,
        "rms_norm_eps": 0.3,
        "tie_word_embeddings": False,
        "rope_parameters": _YARN,
    },
    "afmoe": _AFMOE,
    "afmoe-options": {
        **_AFMOE,
        "layer_types": None,
        "global_attn_every_n_layers": 2,
        "attention_bias": True,
        "num_dense_layers": 2,
        "num_shared_experts": 1,
        "mup_enabled": False,
    },
    "aria_text": _ARIA,
    "aria_text-options": {
        **_ARIA,
        "attention_bias": True,
        "mlp_bias": True,
        "moe_num_shared_experts": 1,
        "hidden_act": "gelu",
        "tie_word_embeddings": True,
    },
    "flint": _FLINT,
    "flint-options": {
        **_FLINT,
        "layer_types": [_NEAR, _FULL, _NEAR, _FULL, _NEAR],
        "mlp_only_layers": [3],
        "decoder_sparse_step": 2,
        "norm_topk_prob": False,
        "attention_bias": True,
        "tie_word_embeddings": True,
    },
    "lara_mini": _LARA,
    "lara_mini-options": {
        **_LARA,
        "num_hidden_layers": 3,
        "layer_types": [_NEAR, "linear_attention", _FULL],
        "norm_topk_prob": False,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "hidden_act": "gelu",
    },
    "hy_v3": _HY3,
    "hy_v3-options": {
        **_HY3,
        "num_hidden_layers": 3,
        "mlp_layer_types": ["sparse", "dense", "sparse"],
        "num_shared_experts": 2,
        "router_scaling_factor": 0.7,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "mellum": _MELLUM,
    "mellum-options": {
        **_MELLUM,
        "mlp_layer_types": ["sparse", "dense", "sparse"],
        "norm_topk_prob": False,
        "attention_bias": True,
        "rope_parameters": {_FULL: _YARN, _NEAR: {"rope_type": "default", "rope_theta": 70.0}},
    },
    "kolibri1": _KOLIBRI,
    "kolibri1-renormed": {**_KOLIBRI, "layer_types": None, "norm_topk_prob": True},
    "sarvam_moe": _SARVAM,
    "sarvam_mla": _SARVAM_MLA,
    "sarvam_mla-yarn": {**_SARVAM_MLA, "rope_parameters": _YARN},
    "modernbert-decoder": _ETTIN,
    "modernbert-decoder-options": {
        **_ETTIN,
        "layer_types": [_FULL, _NEAR, _NEAR, _FULL],
        "rope_parameters": {_FULL: _PLAIN, _NEAR: {"rope_type": "default", "rope_theta": 70.0}},
        "norm_bias": True,
        "norm_eps": 0.3,
        "attention_bias": True,
        "mlp_bias": True,
        "classifier_bias": True,
        "classifier_activation": "silu",
        "decoder_bias": False,
        "hidden_activation": "relu",
        "tie_word_embeddings": False,
    },
    "cohere2_moe": _COMMAND,
    "cohere2_moe-options": {
        **_COMMAND,
        "first_k_dense_replace": 2,
        "prefix_dense_sliding_window_pattern": 2,
        "shared_expert_combination_strategy": "sum",
        "expert_selection_fn": "sigmoid",
        "rms_norm_eps": 0.3,
        "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "cohere2_moe-raw-weights": {
        **_COMMAND,
        "num_shared_experts": 0,
        "expert_selection_fn": "sigmoid",
        "norm_topk_prob": False,
    },
    "olmo_hybrid": {**_OLMO, "rope_parameters": {"rope_type": "default", "rope_theta": None}},
    "olmo_hybrid-options": {
        **_OLMO,
        "layer_types": None,
        "linear_num_key_heads": None,
        "linear_key_head_dim": None,
        "linear_value_head_dim": 7,
        "linear_allow_neg_eigval": False,
        "attention_bias": True,
        "rms_norm_eps": 0.3,
        "rope_parameters": _PLAIN,
    },
}
