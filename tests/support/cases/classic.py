"""Tiny configurations of the families before Llama and those that follow them.

Sizes do not divide: 97 vocabulary entries, windows shorter than the texts, heads that are no power
of two where slopes depend on it.
"""

from __future__ import annotations

from typing import Any

_GPTJ = dict(
    model_type="gptj", vocab_size=97, n_embd=48, n_layer=3, n_head=4, rotary_dim=6, n_positions=128
)
_CODEGEN = {**_GPTJ, "model_type": "codegen", "n_embd": 80, "n_head": 8}
_GPT_NEO = dict(
    model_type="gpt_neo",
    vocab_size=97,
    hidden_size=40,
    num_layers=3,
    num_heads=4,
    attention_types=[[["local", "global"], 1], [["local"], 1]],
    window_size=9,
    intermediate_size=52,
    max_position_embeddings=128,
)
_BIGCODE = dict(
    model_type="gpt_bigcode",
    vocab_size=97,
    n_embd=40,
    n_layer=3,
    n_head=4,
    n_inner=52,
    n_positions=128,
)
_OPT = dict(
    model_type="opt",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    ffn_dim=52,
    max_position_embeddings=128,
)
_BLOOM = dict(model_type="bloom", vocab_size=97, hidden_size=40, n_layer=3, n_head=4)
_FALCON = dict(
    model_type="falcon",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    ffn_hidden_size=52,
)
_FALCON_RW = {
    **_FALCON,
    "alibi": True,
    "multi_query": False,
    "parallel_attn": False,
    "bias": True,
}
_FALCON_40B = {
    **_FALCON,
    "new_decoder_architecture": True,
    "num_kv_heads": 2,
}
_MPT = dict(model_type="mpt", vocab_size=97, d_model=40, n_layers=3, n_heads=4, max_seq_len=128)
_XGLM = dict(
    model_type="xglm",
    vocab_size=97,
    d_model=40,
    num_layers=3,
    attention_heads=4,
    ffn_dim=52,
    max_position_embeddings=128,
)
_STARCODER2 = dict(
    model_type="starcoder2",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=52,
    max_position_embeddings=128,
)
_PHI = {**_STARCODER2, "model_type": "phi", "hidden_size": 48, "partial_rotary_factor": 0.5}
_STABLELM = {**_PHI, "model_type": "stablelm"}


def _mpt(**attention: Any) -> dict[str, Any]:
    return {**_MPT, "attn_config": attention}


def _rope(base: dict, **rope: Any) -> dict:
    return {**base, "rope_parameters": {"rope_theta": 500.0, **rope}}


CASES: dict[str, dict[str, Any]] = {
    "gptj": _GPTJ,
    "gptj-whole-heads": {**_GPTJ, "rotary_dim": 12},
    "gptj-inner": {**_GPTJ, "n_inner": 52},
    "gptj-tied": {**_GPTJ, "tie_word_embeddings": True},
    "gptj-eps": {**_GPTJ, "layer_norm_epsilon": 0.3},
    "gptj-relu": {**_GPTJ, "activation_function": "relu"},
    "codegen": _CODEGEN,
    "codegen-four-heads": {**_CODEGEN, "n_head": 4, "n_inner": 52, "rotary_dim": 20},
    "codegen-tied": {**_CODEGEN, "tie_word_embeddings": True},
    "gpt_neo": _GPT_NEO,
    "gpt_neo-global": {**_GPT_NEO, "attention_types": [[["global"], 3]]},
    "gpt_neo-inner-default": {**_GPT_NEO, "intermediate_size": None},
    "gpt_neo-untied": {**_GPT_NEO, "tie_word_embeddings": False},
    "gpt_neo-eps": {**_GPT_NEO, "layer_norm_epsilon": 0.3},
    "gpt_neo-relu": {**_GPT_NEO, "activation_function": "relu"},
    "gpt_bigcode": _BIGCODE,
    "gpt_bigcode-many-kv-heads": {**_BIGCODE, "multi_query": False},
    "gpt_bigcode-unscaled": {**_BIGCODE, "scale_attn_weights": False},
    "gpt_bigcode-inner-default": {**_BIGCODE, "n_inner": None},
    "gpt_bigcode-untied": {**_BIGCODE, "tie_word_embeddings": False},
    "gpt_bigcode-eps": {**_BIGCODE, "layer_norm_epsilon": 0.3},
    "gpt_bigcode-gelu": {**_BIGCODE, "activation_function": "gelu"},
    "opt": _OPT,
    "opt-350m": {**_OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 24},
    "opt-projected": {**_OPT, "word_embed_proj_dim": 24},
    "opt-projected-untied": {**_OPT, "word_embed_proj_dim": 24, "tie_word_embeddings": False},
    "opt-norm-after": {**_OPT, "do_layer_norm_before": False},
    "opt-no-final-norm": {**_OPT, "_remove_final_layer_norm": True},
    "opt-no-biases": {**_OPT, "enable_bias": False},
    "opt-plain-norms": {**_OPT, "layer_norm_elementwise_affine": False},
    "opt-gelu": {**_OPT, "activation_function": "gelu"},
    "bloom": _BLOOM,
    "bloom-six-heads": {**_BLOOM, "hidden_size": 48, "n_head": 6},
    "bloom-untied": {**_BLOOM, "tie_word_embeddings": False},
    "bloom-normed-residual": {**_BLOOM, "apply_residual_connection_post_layernorm": True},
    "bloom-eps": {**_BLOOM, "layer_norm_epsilon": 0.3, "slow_but_exact": True},
    "falcon-7b": _FALCON,
    "falcon-7b-inner-default": {**_FALCON, "ffn_hidden_size": None},
    "falcon-7b-bias": {**_FALCON, "bias": True},
    "falcon-7b-many-kv-heads": {**_FALCON, "multi_query": False},
    "falcon-7b-sequential": {**_FALCON, "parallel_attn": False},
    "falcon-7b-untied": {**_FALCON, "tie_word_embeddings": False},
    "falcon-7b-eps": {**_FALCON, "layer_norm_epsilon": 0.3},
    "falcon-7b-relu": {**_FALCON, "activation": "relu"},
    "falcon-7b-theta": _rope(_FALCON, rope_type="default"),
    "falcon-7b-rope-linear": _rope(_FALCON, rope_type="linear", factor=3.0),
    "falcon-rw": _FALCON_RW,
    "falcon-rw-six-heads": {**_FALCON_RW, "hidden_size": 48, "num_attention_heads": 6},
    "falcon-rw-7b": {**_FALCON, "alibi": True},
    "falcon-40b": _FALCON_40B,
    "falcon-40b-alibi": {**_FALCON_40B, "alibi": True},
    "falcon-40b-no-grouping": {**_FALCON_40B, "num_kv_heads": None},
    "falcon-11b": {**_FALCON_40B, "num_ln_in_parallel_attn": 1},
    "mpt": _MPT,
    "mpt-six-heads": {**_MPT, "d_model": 48, "n_heads": 6},
    "mpt-clipped": _mpt(clip_qkv=0.7),
    "mpt-scaled": _mpt(softmax_scale=0.6),
    "mpt-untied": {**_MPT, "tie_word_embeddings": False},
    "mpt-biases-that-are-not-there": {**_MPT, "no_bias": False},
    "mpt-eps": {**_MPT, "layer_norm_epsilon": 0.3},
    "xglm": _XGLM,
    "xglm-unscaled": {**_XGLM, "scale_embedding": False},
    "xglm-untied": {**_XGLM, "tie_word_embeddings": False},
    "xglm-relu": {**_XGLM, "activation_function": "relu"},
    "starcoder2": _STARCODER2,
    "starcoder2-window": {**_STARCODER2, "sliding_window": 9},
    "starcoder2-no-biases": {**_STARCODER2, "use_bias": False},
    "starcoder2-head-dim": {**_STARCODER2, "head_dim": 14},
    "starcoder2-untied": {**_STARCODER2, "tie_word_embeddings": False},
    "starcoder2-eps": {**_STARCODER2, "norm_epsilon": 0.3},
    "starcoder2-gelu": {**_STARCODER2, "hidden_act": "gelu"},
    "starcoder2-theta": _rope(_STARCODER2, rope_type="default"),
    "phi": _PHI,
    "phi-qk-norm": {**_PHI, "qk_layernorm": True, "layer_norm_eps": 0.3},
    "phi-share": {**_PHI, "partial_rotary_factor": 0.34},
    "phi-share-default": {k: v for k, v in _PHI.items() if k != "partial_rotary_factor"},
    "phi-no-grouping": {**_PHI, "num_key_value_heads": None},
    "phi-head-dim": {**_PHI, "head_dim": 16},
    "phi-tied": {**_PHI, "tie_word_embeddings": True},
    "phi-relu": {**_PHI, "hidden_act": "relu"},
    "phi-rope-linear": _rope(_PHI, rope_type="linear", factor=3.0, partial_rotary_factor=0.5),
    "stablelm": _STABLELM,
    "stablelm-2-12b": {**_STABLELM, "qk_layernorm": True, "use_parallel_residual": True},
    "stablelm-qk-norm": {**_STABLELM, "qk_layernorm": True, "layer_norm_eps": 0.3},
    "stablelm-parallel": {**_STABLELM, "use_parallel_residual": True},
    "stablelm-biases": {**_STABLELM, "use_qkv_bias": True},
    "stablelm-share-default": {
        k: v for k, v in {**_STABLELM, "hidden_size": 64}.items() if k != "partial_rotary_factor"
    },
    "stablelm-tied": {**_STABLELM, "tie_word_embeddings": True},
    "stablelm-gelu": {**_STABLELM, "hidden_act": "gelu"},
    "stablelm-theta": _rope(_STABLELM, rope_type="default", partial_rotary_factor=0.5),
}
