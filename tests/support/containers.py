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
    "exaone4": "exaone4_5",
    "hyperclovax": "hyperclovax_vision_v2",
    "llama": "deepseek_vl deepseek_vl_hybrid glmasr janus llava_next_video omniasr"
    " video_llava vipllava voxtral",
    "minimax_m3_vl_text": "minimax_m3_vl",
    "mistral": "idefics2",
    "persimmon": "fuyu",
    "qwen2": "fast_vlm got_ocr2 ovis2 pp_chart2table qwen2_audio vibevoice_asr video_llama_3",
    "qwen3": "lighton_ocr moss_transcribe_diarize qwen3_asr",
    "qwen3_5_text": "minicpm_ocr minicpmv4_6 minicpmv4_7",
}


# Each type -> its language model.
INSIDE = {kind: inside for inside, kinds in _AROUND.items() for kind in kinds.split()}


def case(kind: str) -> dict[str, Any]:
    """config.json of a type, with every part that encodes pictures and sound."""
    text = {**tables(), "qwen2": _QWEN2}[INSIDE[kind]]
    return {
        "model_type": kind,
        "text_config": {**text, "vocab_size": 97},
        **small_parts(kind),
    }
