"""Checkpoints of pictures or sound beside a language model that has a page of its own."""

from __future__ import annotations

from typing import Any

from support.parity import tables

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
_INSIDE = {"qwen2": _QWEN2}
# The language model -> the types around it.
_AROUND = {
    "exaone4": "exaone4_5",
    "hyperclovax": "hyperclovax_vision_v2",
    "llama": "deepseek_vl deepseek_vl_hybrid glmasr janus llava_next_video omniasr"
    " video_llava vipllava voxtral",
    "mistral": "idefics2",
    "persimmon": "fuyu",
    "qwen2": "fast_vlm got_ocr2 ovis2 pp_chart2table qwen2_audio vibevoice_asr video_llama_3",
    "qwen3": "lighton_ocr moss_transcribe_diarize qwen3_asr",
    "qwen3_5_text": "minicpm_ocr minicpmv4_6 minicpmv4_7",
}
# Parts that cannot be left out.
_MORE: dict[str, dict[str, Any]] = {
    "qwen2_audio": dict(
        audio_config=dict(
            d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16
        )
    ),
}


def cases() -> dict[str, dict[str, Any]]:
    """config.json of each type, without the parts that encode pictures and sound."""
    text = {**tables(), **_INSIDE}
    return {
        kind: {
            "model_type": kind,
            "text_config": {**text[inside], "vocab_size": 97},
            **_MORE.get(kind, {}),
        }
        for inside, kinds in _AROUND.items()
        for kind in kinds.split()
    }
