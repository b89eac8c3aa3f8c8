"""Keys that the text_config of files lacks where a value is the default of the class that wrote it.

transformers 4 saved of nested objects only what differs from the class's defaults, which are given
here by the type of the language model. Those of the other keys are on the pages of these types.
"""

from __future__ import annotations

from typing import Any


def _sizes(
    hidden: int, inner: int, layers: int, heads: int, vocabulary: int, context: int, **more: Any
) -> dict[str, Any]:
    return dict(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocabulary,
        max_position_embeddings=context,
        **more,
    )


_QWEN2_VL = _sizes(8192, 29_568, 80, 64, 152_064, 32_768, num_key_value_heads=8)
_DEEPSEEK_V3: dict[str, Any] = {
    **_sizes(7168, 18_432, 61, 128, 129_280, 4096, q_lora_rank=1536, kv_lora_rank=512),
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
}
_LLAMA = _sizes(4096, 11_008, 32, 32, 32_000, 2048)

LEFT_OUT: dict[str, dict[str, Any]] = {
    "aria_text": _sizes(4096, 4096, 32, 32, 32_000, 2048),
    "apertus1p5_text": _sizes(4096, 14_336, 32, 32, 266_752, 65_536),
    "cohere_compass_text": _sizes(8192, 22_528, 40, 64, 256_000, 8192),
    "cosmos3_edge_text": _sizes(2048, 9216, 28, 16, 131_072, 131_072),
    "deepseek_ocr2_text": _sizes(4096, 11_008, 32, 32, 102_400, 2048),
    "cohere2": _sizes(8192, 22_528, 40, 64, 256_000, 8192),
    "emu3_text_model": _sizes(4096, 14_336, 32, 32, 184_622, 9216),
    "ernie4_5_vl_moe_text": _sizes(2560, 12_288, 28, 20, 103_424, 131_072),
    "deepseek_v3": _DEEPSEEK_V3,
    "exaone4": _sizes(4096, 16_384, 32, 32, 102_400, 2048),
    "gemma3n_text": _sizes(2048, 16_384, 35, 8, 262_400, 32_768),
    "gemma4_text": _sizes(2304, 9216, 30, 8, 262_144, 131_072),
    "gemma4_unified_text": _sizes(2304, 9216, 30, 8, 262_144, 262_144),
    "glm4v_moe_text": {
        **_sizes(4096, 10_944, 46, 96, 151_424, 65_536),
        "moe_intermediate_size": 1408,
        "n_routed_experts": 128,
    },
    "glm4v_text": _sizes(4096, 13_696, 40, 32, 151_552, 32_768),
    "glm_ocr_text": _sizes(1024, 4096, 16, 16, 59_392, 131_072),
    "granite": _LLAMA,
    "granite4_vision_text": _LLAMA,
    "granite_docling_text": _sizes(1024, 2048, 28, 16, 133_800, 32_768),
    "hunyuan_vl_text": _sizes(4096, 11_008, 32, 32, 290_943, 2048),
    "hyperclovax": _LLAMA,
    "kimi_k2": _DEEPSEEK_V3,
    "kosmos_2_text_model": dict(
        embed_dim=2048,
        ffn_dim=8192,
        layers=24,
        attention_heads=32,
        vocab_size=65_037,
        max_position_embeddings=2048,
    ),
    "kosmos_2_5_text_model": dict(
        embed_dim=1536,
        ffn_dim=6144,
        layers=24,
        attention_heads=16,
        vocab_size=108_481,
        max_position_embeddings=4096,
    ),
    "lfm2": _sizes(2560, 12_288, 32, 32, 65_536, 128_000),
    "lfm3": _sizes(2048, 7680, 24, 16, 128_000, 128_000),
    "llama": _LLAMA,
    "llama4_text": _sizes(5120, 8192, 48, 40, 202_048, 131_072, num_key_value_heads=8),
    "mistral": _sizes(4096, 14_336, 32, 32, 32_000, 131_072),
    "mllama_text_model": _sizes(4096, 14_336, 40, 32, 128_256, 131_072, num_key_value_heads=8),
    "molmo2_text": _sizes(4096, 12_288, 36, 32, 151_936, 36_864),
    "muse_glimmer_text": _sizes(6656, 19_968, 52, 32, 202_048, 131_072),
    "paddleocr_vl_text": _sizes(1024, 3072, 18, 16, 103_424, 131_072),
    "nemotron_h": dict(
        hidden_size=4096, num_attention_heads=32, vocab_size=131_072, moe_intermediate_size=7688
    ),
    "persimmon": _sizes(4096, 16_384, 36, 64, 262_144, 16_384),
    "qwen2": _sizes(4096, 22_016, 32, 32, 151_936, 32_768),
    "qwen2_5_omni_text": _sizes(3584, 18_944, 28, 28, 152_064, 32_768, num_key_value_heads=4),
    "qwen2_vl_text": _QWEN2_VL,
    "qwen2_5_vl_text": _QWEN2_VL,
    "qwen3": _sizes(4096, 22_016, 32, 32, 151_936, 32_768),
    "qwen3_5_text": _sizes(4096, 12_288, 32, 16, 248_320, 32_768),
    "qwen3_asr_text": _sizes(4096, 22_016, 32, 32, 151_936, 128_000),
    "qwen3_omni_moe_text": {
        **_sizes(2048, 18_944, 28, 28, 3584, 32_768),
        "moe_intermediate_size": 768,
        "num_experts": 128,
    },
    "qwen3_vl_text": _sizes(4096, 22_016, 32, 32, 151_936, 128_000),
    "qwen3_vl_moe_text": {
        **_sizes(2048, 5632, 24, 16, 151_936, 128_000),
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 4,
        "num_key_value_heads": 16,
    },
    "step3p5": _sizes(4096, 11_264, 45, 64, 128_815, 128_000),
    "unlimited_ocr_text": _sizes(1280, 6848, 12, 10, 129_280, 32_768),
}
