"""Checkpoints of pictures or sound beside a language model that has a page of its own."""

from __future__ import annotations

from typing import Any

from support.parity import tables
from support.towers import small_parts

_QWEN2 = dict(
    model_type="qwen2",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=28,
    max_position_embeddings=128,
    pad_token_id=0,
)
# The language model -> the types around it.
_AROUND = {
    "aria_text": "aria",
    "deepseek_v3": "kimi_k25",
    "exaone4": "exaone4_5",
    "gemma4_unified_text": "gemma4_unified",
    "granite": "granite_speech granite_speech_plus",
    "hyperclovax": "hyperclovax_vision_v2",
    "llama": "deepseek_vl deepseek_vl_hybrid glmasr janus llava_next_video omniasr"
    " perception_lm video_llava vipllava voxtral",
    "minimax_m3_vl_text": "minimax_m3_vl",
    "mistral": "idefics2",
    "nemotron_h": "nemo_speechlm nemotron_h_omni",
    "persimmon": "fuyu",
    "qwen2": "audioflamingo3 fast_vlm got_ocr2 musicflamingo ovis2 pp_chart2table qwen2_audio"
    " vibevoice_asr video_llama_3",
    "qwen2_5_omni_text": "qwen2_5_omni qwen2_5_omni_thinker",
    "qwen4_exp_text": "qwen4_exp",
    "qwen3": "fun_asr_nano lighton_ocr moss_transcribe_diarize qianfan_ocr qwen3_asr",
    "qwen3_omni_moe_text": "qwen3_omni_moe qwen3_omni_moe_thinker",
    "qwen3_5_text": "minicpm_ocr minicpmv4_6 minicpmv4_7",
}


# Language models that exist beside other parts only.
_OMNI_EXPERTS = dict(
    head_dim=14,
    num_experts=5,
    num_experts_per_tok=2,
    moe_intermediate_size=24,
    norm_topk_prob=False,
    attention_bias=True,
)
_OWN: dict[str, dict[str, Any]] = {
    "qwen2_5_omni_text": {
        **_QWEN2,
        "model_type": "qwen2_5_omni_text",
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e2, "mrope_section": [2, 2, 1]},
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 1,
    },
    "qwen3_omni_moe_text": {
        **_QWEN2,
        "model_type": "qwen3_omni_moe_text",
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e2, "mrope_section": [3, 2, 2]},
        **_OMNI_EXPERTS,
    },
}

# Factors on logits that transformers' class of the whole checkpoint does not apply.
_LEFT_OUT_BY_THE_LIBRARY = {
    "granite_speech": {"logits_scaling": 1.0},
    "granite_speech_plus": {"logits_scaling": 1.0},
}

# Each type -> its language model.
INSIDE = {kind: inside for inside, kinds in _AROUND.items() for kind in kinds.split()}
# Types that transformers has under another name: their files are made of its.
RENAMED = {"internvl_chat": "internvl"}
# Types whose language model is compared at every layer here, being no type of a case elsewhere.
WHOLE = {kind for kind, inside in INSIDE.items() if inside in _OWN}


def case(kind: str) -> dict[str, Any]:
    """config.json of a type, with every part that encodes pictures and sound."""
    text = {**tables(), "qwen2": _QWEN2, **_OWN}[INSIDE[kind]]
    parts = small_parts(kind)
    outer = parts.get("thinker_config", parts)
    outer["text_config"] = {**text, "vocab_size": 97, **_LEFT_OUT_BY_THE_LIBRARY.get(kind, {})}
    return {"model_type": kind, **parts}
