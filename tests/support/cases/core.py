"""One table of tiny configurations: each key that can change a logit does so in some case.

Sizes do not divide: 97 vocabulary entries, head_dim other than width / heads, windows shorter
than the texts.
"""

from __future__ import annotations

from typing import Any

_NEOX = dict(
    model_type="gpt_neox",
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=76,
    max_position_embeddings=128,
)
_GPT2 = dict(
    model_type="gpt2", vocab_size=97, n_embd=40, n_layer=3, n_head=4, n_inner=52, n_positions=128
)
_LLAMA = dict(
    model_type="llama",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=14,
    intermediate_size=52,
    max_position_embeddings=128,
)
_MISTRAL = {**_LLAMA, "model_type": "mistral", "sliding_window": 11}
_QWEN2 = {**_LLAMA, "model_type": "qwen2"}


def _rope(base: dict, max_position_embeddings: int = 128, **rope: Any) -> dict:
    return {
        **base,
        "max_position_embeddings": max_position_embeddings,
        "rope_parameters": {"rope_theta": 500.0, **rope},
    }


CASES: dict[str, dict[str, Any]] = {
    "gpt_neox": _NEOX,
    "gpt_neox-sequential": {**_NEOX, "use_parallel_residual": False},
    "gpt_neox-no-attention-bias": {**_NEOX, "attention_bias": False},
    "gpt_neox-tied": {**_NEOX, "tie_word_embeddings": True},
    "gpt_neox-eps": {**_NEOX, "layer_norm_eps": 0.3},
    "gpt_neox-gelu-tanh": {**_NEOX, "hidden_act": "gelu_new"},
    "gpt_neox-relu": {**_NEOX, "hidden_act": "relu"},
    # An odd share: 12 x 0.3 = 3 channels, rounded up to two pairs.
    "gpt_neox-rope-share": _rope(_NEOX, partial_rotary_factor=0.3, rope_type="default"),
    "gpt_neox-rope-linear": _rope(_NEOX, partial_rotary_factor=0.5, rope_type="linear", factor=3.0),
    "gpt2": _GPT2,
    "gpt2-inner-default": {**_GPT2, "n_inner": None},
    "gpt2-scale-by-layer": {**_GPT2, "scale_attn_by_inverse_layer_idx": True},
    "gpt2-unscaled": {**_GPT2, "scale_attn_weights": False},
    "gpt2-untied": {**_GPT2, "tie_word_embeddings": False},
    "gpt2-eps": {**_GPT2, "layer_norm_epsilon": 0.3},
    "gpt2-relu": {**_GPT2, "activation_function": "relu"},
    "llama": _LLAMA,
    "llama-one-kv-head": {**_LLAMA, "num_key_value_heads": 1},
    "llama-no-grouping": {**_LLAMA, "num_key_value_heads": None, "head_dim": None},
    "llama-biases": {**_LLAMA, "attention_bias": True, "mlp_bias": True},
    "llama-tied": {**_LLAMA, "tie_word_embeddings": True},
    "llama-eps": {**_LLAMA, "rms_norm_eps": 0.3},
    "llama-gelu": {**_LLAMA, "hidden_act": "gelu"},
    "llama-theta": _rope(_LLAMA, rope_type="default"),
    "llama-rope-linear": _rope(_LLAMA, rope_type="linear", factor=2.5),
    # Texts go beyond the trained length, as dynamic scaling needs to have an effect.
    "llama-rope-dynamic": _rope(_LLAMA, 24, rope_type="dynamic", factor=6.0),
    "llama-rope-llama3": _rope(
        _LLAMA,
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    ),
    "llama-rope-yarn": _rope(
        _LLAMA, rope_type="yarn", factor=4.0, original_max_position_embeddings=32
    ),
    "llama-rope-yarn-options": _rope(
        _LLAMA,
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=32,
        beta_fast=8.0,
        beta_slow=2.0,
        mscale=0.7,
        mscale_all_dim=0.3,
        truncate=False,
    ),
    "llama-rope-yarn-gain": _rope(
        _LLAMA,
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=32,
        attention_factor=1.3,
    ),
    # Some texts are shorter, some longer than 40 tokens: both sets of factors are used.
    "llama-rope-longrope": _rope(
        _LLAMA,
        rope_type="longrope",
        original_max_position_embeddings=40,
        short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6],
        long_factor=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    ),
    "mistral": _MISTRAL,
    "mistral-no-window": {**_MISTRAL, "sliding_window": None},
    "mistral-window-one": {**_MISTRAL, "sliding_window": 1},
    "qwen2": _QWEN2,
    "qwen2-windows": {
        **_QWEN2,
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 1,
    },
    "qwen2-layer-types": {
        **_QWEN2,
        "use_sliding_window": True,
        "sliding_window": 9,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "qwen2-tied": {**_QWEN2, "tie_word_embeddings": True},
}
