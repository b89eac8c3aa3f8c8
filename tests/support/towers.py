"""The parts of a multimodal model that encode pictures and sound, at small sizes."""

from __future__ import annotations

from typing import Any

# The sizes of the parts, by their names in config.json. None divides a language model's.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        """d_model downsample_hidden_size embed_dim feedforward_mult hidden_dim hidden_size
        image_token_embed_dim input_dim latent_channels out_hidden_size output_channels output_dim
        projection_dim projector_input_dim projector_output_dim resampler_head_dim
        vision_output_dim""".split(),
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
    **dict.fromkeys("num_embeddings vocab_size".split(), 48),
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "conv_dim": [16] * 7,
    "depths": [1] * 7,
    "head_dim": 8,
    "image_size": 28,
    "num_conv_pos_embedding_groups": 2,
    "num_filters": 2,
    "num_conv_pos_embeddings": 8,
    "patch_size": 14,
}
# The same beside the parts.
_OUTSIDE: dict[str, Any] = {"alignment_intermediate_size": 32}


def small_parts(kind: str) -> dict[str, Any]:
    """Of a model type the objects of config.json beside `text_config`, with these sizes."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind)
    outside = {key: value for key, value in _OUTSIDE.items() if hasattr(config, key)}
    return {**outside, **_parts(config)}


def _parts(config: Any) -> dict[str, Any]:
    """The objects in one object of config.json, without the language model's."""
    found: dict[str, Any] = {}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None and name != "text_config":
            sizes = {key: value for key, value in _SIZES.items() if hasattr(part, key)}
            found[name] = {"model_type": part.model_type, **sizes, **_parts(part)}
    return found
