"""The parts of a multimodal model that encode pictures and sound, at small sizes."""

from __future__ import annotations

from typing import Any

# The sizes of the parts, by their names in config.json. None divides a language model's.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        """audio_hidden_size d_model embedding_size emb_dim enc_attention_channels enc_dim
        enc_emb_dim enc_se_channels mel_dim moe_intermediate_size thinker_hidden_size
        downsample_hidden_size embed_dim feedforward_mult hidden_dim
        hidden_size image_token_embed_dim input_dim latent_channels out_hidden_size
        output_channels output_dim projection_dim projector_input_dim projector_output_dim
        resampler_head_dim vision_output_dim""".split(),
        16,
    ),
    **dict.fromkeys("encoder_ffn_dim intermediate_size mlp_dim".split(), 32),
    **dict.fromkeys(
        """attention_heads conf_num_attention_heads encoder_attention_heads num_attention_heads
        num_heads num_key_value_heads resampler_n_heads window_size""".split(),
        2,
    ),
    **dict.fromkeys(
        """conf_num_hidden_layers depth encoder_layers num_hidden_layers num_layers num_res_blocks
        resampler_depth""".split(),
        2,
    ),
    "deepstack_visual_indexes": [1],
    "fullatt_block_indexes": [1],
    "global_attn_indexes": [1],
    **dict.fromkeys("max_position_embeddings max_source_positions".split(), 20),
    **dict.fromkeys("num_mel_bins num_position_embeddings".split(), 16),
    **dict.fromkeys("codebook_size num_embeddings num_embeds vocab_size".split(), 48),
    **dict.fromkeys("num_code_groups num_experts num_experts_per_tok num_quantizers".split(), 2),
    **dict.fromkeys("decoder_dim upsample_initial_channel".split(), 128),
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "conv_dim": [16] * 7,
    "depths": [1] * 7,
    "enc_channels": [16] * 5,
    "head_dim": 8,
    "image_size": 28,
    "num_conv_pos_embedding_groups": 2,
    "num_filters": 2,
    "num_conv_pos_embeddings": 8,
    "patch_size": 14,
}
# The same beside the parts.
_OUTSIDE: dict[str, Any] = {"alignment_intermediate_size": 32}


# Of some types sizes that must be those of another part, and parts that may be left out.
_OF_TYPES: dict[str, dict[str, Any]] = {
    "fun_asr_nano": {"adaptor_config": {"hidden_size": 40, "intermediate_size": 10}},
    "kimi_k25": {"vision_config": {"pos_emb_height": 2, "pos_emb_width": 2}},
    "nemo_speechlm": {"word_timestamp_config": {"blank_token_id": 47}},
    "nemotron_h_omni": {
        "vision_config": {"video_temporal_patch_size": 2},
        "vision_hidden_size": 16,
        "projector_hidden_size": 32,
        "audio_config": {
            **{key: _SIZES[key] for key in ("hidden_size", "intermediate_size", "num_mel_bins")},
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "subsampling_conv_channels": 8,
            "projection_hidden_size": 16,
            "projection_bias": False,
        },
    },
    "qwen3_omni_moe": {
        "talker_config": {
            "text_config": {"shared_expert_intermediate_size": 16},
            "code_predictor_config": {"num_code_groups": 2},
            "spatial_merge_size": 2,
        },
    },
    "perception_lm": {"vision_config": {"model_args": {"embed_dim": 16}}},
}


def small_parts(kind: str) -> dict[str, Any]:
    """Of a model type the objects of config.json beside `text_config`, with these sizes."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind)
    found = {key: value for key, value in _OUTSIDE.items() if hasattr(config, key)} | _parts(config)
    return _merged(found, _OF_TYPES.get(kind, {}))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The first with the entries of the second, in nested objects too."""
    found = dict(one)
    for key, value in other.items():
        found[key] = _merged(one.get(key, {}), value) if isinstance(value, dict) else value
    return found


def _parts(config: Any) -> dict[str, Any]:
    """The objects in one object of config.json, without the language model's."""
    found: dict[str, Any] = {}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        is_spoken = "Talker" in type(config).__name__  # its language model predicts codes of sound
        if part is not None and (name != "text_config" or is_spoken):
            kind = type(part)
            sizes = {
                key: value
                for key, value in _SIZES.items()
                if hasattr(part, key) and not isinstance(getattr(kind, key, None), property)
            }
            found[name] = {**sizes, **_parts(part)}
            if part.model_type:
                found[name]["model_type"] = part.model_type
    return found
