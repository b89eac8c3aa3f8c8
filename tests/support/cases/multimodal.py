"""Language models inside checkpoints of several modalities, beside the smallest other parts."""

from __future__ import annotations

from typing import Any

from support.cases import attention_forms, core, llama_successors, newer, recurrent

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,  # not as many as another part has
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=28,
    max_position_embeddings=128,
    pad_token_id=0,
)
_TOWER = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=28,
    patch_size=14,
)
_QWEN_TOWER = dict(
    depth=1, hidden_size=16, num_heads=2, intermediate_size=24, patch_size=14, out_hidden_size=40
)
_MROPE = {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 1]}
_QWEN_TEXT = {**_SIZES, "rope_parameters": _MROPE}
_QWEN3_TEXT = {
    **_SIZES,
    "head_dim": 14,
    "rope_parameters": {**_MROPE, "mrope_section": [3, 2, 2]},
    "attention_bias": True,
}


def _beside(kind: str, text: dict[str, Any], tower: str, **more: Any) -> dict[str, Any]:
    return dict(
        model_type=kind,
        text_config={**text, "num_hidden_layers": 3},
        vision_config={**_TOWER, "model_type": tower},
        tie_word_embeddings=False,
        **more,
    )


_LLAMA = {**core.CASES["llama"], "vocab_size": 97}
_COHERE = {**llama_successors.CASES["cohere2"], "logit_scale": 1.0}  # which the library leaves out
_TOKEN = dict(image_token_index=96)


def _qwen3_5(kind: str) -> dict[str, Any]:
    return dict(
        model_type=kind,
        text_config=recurrent.CASES[f"{kind}_text"],
        vision_config={**_QWEN_TOWER, "num_position_embeddings": 16},
    )


CASES: dict[str, dict[str, Any]] = {
    "mistral3": _beside(
        "mistral3", {**_SIZES, "model_type": "mistral", "sliding_window": None}, "pixtral", **_TOKEN
    ),
    "mistral3-ministral3": _beside("mistral3", newer.CASES["ministral3"], "pixtral", **_TOKEN),
    "qwen2_5_vl": dict(
        model_type="qwen2_5_vl",
        text_config=_QWEN_TEXT,
        vision_config=_QWEN_TOWER,
        tie_word_embeddings=True,
    ),
    "qwen2_vl": dict(
        model_type="qwen2_vl",
        text_config=_QWEN_TEXT,
        vision_config=dict(depth=1, embed_dim=16, hidden_size=40, num_heads=2, mlp_ratio=2),
    ),
    "qwen3_vl": dict(
        model_type="qwen3_vl",
        text_config=_QWEN3_TEXT,
        vision_config={**_QWEN_TOWER, "deepstack_visual_indexes": [0]},
    ),
    "qwen3_vl_moe": dict(
        model_type="qwen3_vl_moe",
        text_config={
            **_QWEN3_TEXT,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
        },
        vision_config={**_QWEN_TOWER, "deepstack_visual_indexes": [0]},
    ),
    "qwen3_5": _qwen3_5("qwen3_5"),
    "qwen3_5_moe": _qwen3_5("qwen3_5_moe"),
    "llama4": dict(
        model_type="llama4",
        text_config={**newer.CASES["llama4_text"], "num_hidden_layers": 3},
        vision_config={**_TOWER, "vision_output_dim": 16, "projector_input_dim": 16}
        | {"projector_output_dim": 16, "intermediate_size": 64},
    ),
    "internvl": _beside("internvl", {**_SIZES, "model_type": "qwen2"}, "internvl_vision"),
    "llava": _beside("llava", _LLAMA, "clip_vision_model", **_TOKEN),
    "llava_next": _beside("llava_next", _LLAMA, "clip_vision_model", **_TOKEN),
    "llava_onevision": _beside(
        "llava_onevision", {**_SIZES, "model_type": "qwen2"}, "siglip_vision_model"
    ),
    "aya_vision": _beside("aya_vision", _COHERE, "siglip_vision_model"),
    "cohere2_vision": _beside("cohere2_vision", _COHERE, "siglip_vision_model"),
    "idefics3": _beside("idefics3", _LLAMA, "idefics3_vision"),
    "smolvlm": _beside("smolvlm", _LLAMA, "smolvlm_vision"),
    "lfm2_vl": _beside("lfm2_vl", newer.CASES["lfm2"], "siglip2_vision_model"),
    "lfm3_vl": dict(
        model_type="lfm3_vl",
        text_config={
            **attention_forms.CASES["lfm3"],
            "num_hidden_layers": 3,
            "layer_types": ["conv", "sliding_attention", "full_attention"],
        },
        vision_config={**_TOWER, "num_key_value_heads": 1},
        tie_word_embeddings=False,
    ),
}
