"""Language models that exist beside pictures only, given text alone.

The parts that encode pictures are as small as their classes allow.
"""

from __future__ import annotations

from typing import Any

_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=28,
    max_position_embeddings=128,
    pad_token_id=0,
)
_WIDE = {**_SIZES, "head_dim": 14}
_TOWER = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=28,
    patch_size=14,
)
_GLM_TOWER = dict(
    depth=1, hidden_size=16, num_heads=2, intermediate_size=24, patch_size=14, out_hidden_size=40
)
_EXPERTS = dict(
    n_routed_experts=6,
    num_experts_per_tok=3,
    moe_intermediate_size=20,
    n_shared_experts=1,
)


def _mrope(*sections: int, **more: Any) -> dict[str, Any]:
    plain = {"rope_type": "default", "rope_theta": 500.0}
    return {**plain, **more, "mrope_section": list(sections)}


def _beside(kind: str, text: dict[str, Any], tower: dict[str, Any], **more: Any) -> dict[str, Any]:
    return dict(model_type=kind, text_config=text, vision_config=tower, **more)


_MLLAMA = {
    **_SIZES,
    "num_hidden_layers": 6,
    "cross_attention_layers": [1, 4],
    "rms_norm_eps": 0.02,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}
_MLLAMA_TOWER = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_global_layers=1,
    attention_heads=2,
    image_size=28,
    patch_size=14,
    vision_output_dim=32,
    intermediate_layers_indices=[0],
)
_MISTRAL4 = {
    **_SIZES,
    **_EXPERTS,
    "model_type": "mistral4",
    "num_key_value_heads": 4,
    "kv_lora_rank": 12,
    "q_lora_rank": 18,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 10,
    "v_head_dim": 14,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.7,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 500.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "mscale": 0.7,
        "mscale_all_dim": 0.9,
        "llama_4_scaling_beta": 0.3,
    },
}
_GLM = {**_SIZES, "rope_parameters": _mrope(1, 1, 1, partial_rotary_factor=0.6)}
_GLM_MOE = {
    **_WIDE,
    **_EXPERTS,
    "model_type": "glm4v_moe_text",
    "rope_parameters": _mrope(2, 1, 1, partial_rotary_factor=0.6),
    "n_group": 3,
    "topk_group": 2,
    "routed_scaling_factor": 1.3,
}
_ERNIE = {
    **_SIZES,
    "moe_num_experts": 6,
    "moe_k": 3,
    "moe_intermediate_size": [20, 12],
    "rope_parameters": _mrope(2, 2, 1),
}
_MOLMO = {**_WIDE, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
_MOLMO_PARTS = dict(
    vision_config={**_TOWER, "num_key_value_heads": 2, "head_dim": 8, "image_size": [28, 28]},
    adapter_config=dict(
        vision_feature_layer=[0],
        hidden_size=16,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=24,
        text_hidden_size=40,
    ),
)
_HUNYUAN_TOWER = {**_TOWER, "out_hidden_size": 40, "text_hidden_size": 40, "max_image_size": 56}
_PHI4_PARTS = dict(
    vision_config={**_TOWER, "num_hidden_layers": 2, "crop_size": 28, "image_token_id": 95},
    audio_config=dict(
        hidden_size=16,
        intermediate_size=24,
        num_blocks=2,
        num_attention_heads=2,
        ext_pw_out_channel=16,
        depthwise_separable_out_channel=16,
        nemo_conv_channels=16,
        input_size=16,
        audio_token_id=96,
    ),
)
_LONGROPE = dict(
    rope_type="longrope",
    rope_theta=500.0,
    partial_rotary_factor=0.8,
    short_factor=[1.0, 1.1, 1.2, 1.3],
    long_factor=[1.0, 2.0, 3.0, 4.0],
)
_EMU3_TOWER = dict(
    codebook_size=8,
    base_channels=32,
    channel_multiplier=[1],
    num_res_blocks=1,
    attn_resolutions=[],
    hidden_size=32,
)

_APERTUS = {
    **_SIZES,
    "model_type": "apertus1p5_text",
    "vocab_size": 130,
    "output_vocab_size": 97,
    "attention_bias": True,
}
_VQ = dict(
    embed_dim=4,
    latent_channels=4,
    base_channels=32,
    channel_multiplier=[1],
    num_res_blocks=1,
    attn_resolutions=[],
)
_WAV = dict(codebook_size=8)
_COMPASS = {
    **_SIZES,
    "model_type": "cohere_compass_text",
    "num_hidden_layers": 4,
    "sliding_window": 11,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "rope_parameters": {
        "full_attention": None,
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": 500.0,
            "mrope_section": [2, 2, 1],
        },
    },
}
_FACTORS = dict(
    embedding_multiplier=1.7,
    logits_scaling=0.6,
    residual_multiplier=0.4,
    attention_multiplier=0.21,
)
_OCR = {
    **_SIZES,
    "n_routed_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
    "routed_scaling_factor": 1.4,
    "rms_norm_eps": 0.02,
}
_SAM = dict(
    hidden_size=16,
    output_channels=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    window_size=2,
    global_attn_indexes=[0],
    downsample_channels=[8, 16],
)
_KOSMOS = dict(
    vocab_size=98,
    embed_dim=40,
    layers=3,
    attention_heads=4,
    ffn_dim=28,
    max_position_embeddings=128,
    layer_norm_eps=0.02,
    pad_token_id=97,  # of which the texts have none
)
_KOSMOS_TOWER = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    patch_embed_hidden_size=12,
    head_dim=8,
)
_MUSE_TOWER = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    patch_size=14,
    pos_emb_height=4,
    pos_emb_width=4,
)

CASES: dict[str, dict[str, Any]] = {
    "mllama": _beside("mllama", _MLLAMA, _MLLAMA_TOWER),
    "mistral4": _MISTRAL4,
    "mistral4-halves": {
        **_MISTRAL4,
        "q_lora_rank": None,
        "rope_interleave": False,
        "n_group": 3,
        "topk_group": 2,
        "norm_topk_prob": False,
        "attention_bias": True,
    },
    "mistral3-mistral4": _beside(
        "mistral3", _MISTRAL4, {**_TOWER, "model_type": "pixtral"}, image_token_index=96
    ),
    "glm4v": _beside("glm4v", _GLM, _GLM_TOWER),
    "glm4v_moe": _beside("glm4v_moe", _GLM_MOE, _GLM_TOWER),
    "glm46v": _beside(
        "glm46v",
        {**_GLM, "model_type": "glm4v_text"},
        {**_GLM_TOWER, "model_type": "glm4v_vision"},
    ),
    "glm46v-moe": _beside("glm46v", _GLM_MOE, {**_GLM_TOWER, "model_type": "glm4v_moe_vision"}),
    "glmga": _beside(
        "glmga",
        {**_GLM, "model_type": "glm4v_text"},
        {**_GLM_TOWER, "model_type": "glm4v_vision"},
    ),
    "glm_ocr": _beside("glm_ocr", {**_WIDE, "rope_parameters": _mrope(3, 2, 2)}, _GLM_TOWER),
    "paddleocr_vl": _beside(
        "paddleocr_vl", {**_WIDE, "use_bias": True, "rope_parameters": _mrope(3, 2, 2)}, _TOWER
    ),
    "hunyuan_vl": _beside(
        "hunyuan_vl",
        {
            **_WIDE,
            "attention_bias": True,
            "rope_parameters": _mrope(2, 2, 2, 1, rope_type="dynamic", alpha=7.0, factor=1.0),
        },
        _HUNYUAN_TOWER,
        image_token_id=96,
    ),
    "ernie4_5_vl_moe": _beside("ernie4_5_vl_moe", _ERNIE, _GLM_TOWER),
    "ernie4_5_vl_moe-biases": _beside(
        "ernie4_5_vl_moe",
        {
            **_ERNIE,
            "use_bias": True,
            "tie_word_embeddings": False,
            "moe_norm_min": 0.7,
            "mlp_layer_types": ["sparse", "dense", "sparse"],
        },
        _GLM_TOWER,
        tie_word_embeddings=False,
    ),
    "molmo2": dict(model_type="molmo2", text_config=_MOLMO, **_MOLMO_PARTS),
    "molmo2-olmo": dict(
        model_type="molmo2",
        text_config={
            **_MOLMO,
            "qk_norm_type": "olmo",
            "norm_after": True,
            "attention_bias": True,
            "rope_scaling_layers": [0, 2],
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 500.0,
                "factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        **_MOLMO_PARTS,
    ),
    "phi4_multimodal": {
        **_SIZES,
        **_PHI4_PARTS,
        "model_type": "phi4_multimodal",
        "tie_word_embeddings": True,
        "sliding_window": 50,
        "rope_parameters": _LONGROPE,
        "original_max_position_embeddings": 40,
    },
    "emu3": dict(
        model_type="emu3",
        text_config=_SIZES,
        vq_config=_EMU3_TOWER,
        vocabulary_map={"<image>": 96},
    ),
    "apertus1p5_text": _APERTUS,
    "apertus1p5": dict(
        model_type="apertus1p5",
        text_config={**_APERTUS, "vocab_size": 150},
        vision_config={**_VQ, "codebook_size": 8},
        audio_config=dict(model_type="wavtokenizer_encoder", **_WAV),
        image_token_id=3,
        audio_token_id=4,
        image_token_offset=100,
        audio_token_offset=108,
    ),
    "cohere_compass_text": _COMPASS,
    "cohere_compass": _beside(
        "cohere_compass",
        {**_COMPASS, "logit_scale": 0.3, "tie_word_embeddings": False},
        {**_GLM_TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    ),
    "granite4_vision": _beside(
        "granite4_vision",
        {**_SIZES, **_FACTORS, "attention_bias": True},
        {**_TOWER, "hidden_size": 64, "model_type": "clip_vision_model"},
        qformer_config=dict(model_type="blip_2_qformer", num_hidden_layers=1, intermediate_size=24),
        downsample_rate="1/2",
        deepstack_layer_map=[[0, 0]],
        spatial_target_layers=[1],
    ),
    "granite_docling": _beside(
        "granite_docling",
        {**_SIZES, **_FACTORS},
        {**_TOWER, "out_hidden_size": 40, "scale_factor": 2, "deepstack_visual_indexes": [0]},
    ),
    "cosmos3_edge": _beside(
        "cosmos3_edge", {**_WIDE, "rope_parameters": _mrope(3, 2, 2), "mlp_bias": True}, _TOWER
    ),
    "cosmos3_omni": _beside(
        "cosmos3_omni",
        {**_WIDE, "model_type": "qwen3_vl_text", "rope_parameters": _mrope(3, 2, 2)},
        {**_GLM_TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
        | {"model_type": "qwen3_vl_vision"},
    ),
    "deepseek_ocr2": dict(
        model_type="deepseek_ocr2",
        text_config={
            **_OCR,
            "topk_method": "group_limited_greedy",
            "n_group": 3,
            "topk_group": 2,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
        },
        vision_config=dict(
            sam_config={**_SAM, "mlp_ratio": 2.0},
            encoder_config={**_SIZES, "hidden_size": 16, "num_hidden_layers": 1},
        ),
    ),
    "unlimited_ocr": dict(
        model_type="unlimited_ocr",
        text_config={**_OCR, "sliding_window": 7},
        vision_config=dict(
            sam_config={**_SAM, "mlp_dim": 24}, encoder_config={**_TOWER, "hidden_size": 16}
        ),
    ),
    "kosmos-2": _beside("kosmos-2", _KOSMOS, _TOWER, latent_query_num=2),
    "kosmos-2.5": _beside("kosmos-2.5", _KOSMOS, _KOSMOS_TOWER, latent_query_num=2),
    "git": {
        **{key: value for key, value in _SIZES.items() if key != "num_key_value_heads"},
        "model_type": "git",
        "layer_norm_eps": 0.02,
        "vision_config": {**_TOWER, "num_channels": 3},
        "num_image_with_embedding": 2,
    },
    "muse_glimmer": _beside(
        "muse_glimmer",
        {
            **_WIDE,
            "num_hidden_layers": 5,
            "sliding_window": 11,
            "post_norm_eps": 0.05,
            "rms_norm_eps": 0.02,
            "output_multiplier": 0.7,
            "final_logit_softcapping": 9.0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
        _MUSE_TOWER,
        out_hidden_size=64,
        projector_hidden_size=24,
    ),
    "step3p7": _beside(
        "step3p7",
        {
            **_WIDE,
            "num_hidden_layers": 4,
            "layer_types": ["full_attention", *["sliding_attention"] * 2, "full_attention"],
            "sliding_window": 11,
            "num_sliding_attention_heads": 6,
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
            "moe_intermediate_size": 20,
            "n_routed_experts": 6,
            "num_experts_per_tok": 3,
            "share_expert_dim": 12,
            "moe_router_scaling_factor": 1.6,
            "swiglu_limits": [0, 0.3, None, 0.3],
            "swiglu_limits_shared": [0.2, 0, 0.4, 0.4],
            "rms_norm_eps": 0.02,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 500.0,
                    "factor": 4.0,
                    "original_max_position_embeddings": 32,
                    "partial_rotary_factor": 0.6,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
            },
        },
        {**_TOWER, "mlp_ratio": 2.0},
    ),
}
