"""Keys of config.json that cannot change a logit in any family, by name or by their value.

The page of a family declares the inert keys of the family. The keys here are written by tools into
the config of any model.
"""

from __future__ import annotations

from typing import Any

# Keys that transformers writes into any config: bookkeeping, special tokens, generation,
# training, heads of other tasks.
_TRANSFORMERS = """
    _attn_implementation_autoset _attn_implementation_internal _commit_hash
    _experts_implementation_internal _name_or_path architectures attn_implementation auto_map
    bad_words_ids begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward
    cross_attention_hidden_size
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label initializer_range
    is_decoder is_encoder_decoder keys_to_ignore_at_inference label2id length_penalty max_length
    min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_hidden_states output_past output_scores
    pad_token_id prefix problem_type pruned_heads remove_invalid_values repetition_penalty
    return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params
    temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype
    torchscript transformers_version typical_p unk_token_id use_bfloat16 use_cache
"""

# Keys that other tools add, with the place where each can be seen. No model of transformers reads
# them.
_TOOLS = {
    # models/utils.py of unsloth sets it on the config that is saved; unsloth's repaired copies.
    "unsloth": "unsloth_version unsloth_fixed",
    # config.json of HuggingFaceTB/SmolLM2-135M; nanotron's LlamaConfig (config/models_config.py)
    # and its siblings, which mark of what architecture a config is.
    "nanotron": "is_llama_config is_qwen2_config is_starcoder2_config",
    # Settings of the browser's runtime: SmolLM2 and other models with ONNX copies.
    "transformers.js": "transformers.js_config",
    # transformers' own GGUF reader names the model so (integrations/ggml.py), and saves it.
    "GGUF round trips": "_model_name_or_path",
    # TRL, LLaMA-Factory and axolotl pass transformers' NEFTune noise, which is for training only.
    "NEFTune": "neftune_noise_alpha",
    # Which kernel computes the same attention: Baichuan's and InternLM's code, llava and others.
    "attention kernels": """_flash_attn_2_enabled use_flash_attn use_flash_attention
        use_flash_attention_2 use_memory_efficient_attention use_xformers""",
    # FastChat and llava write what their tokenizer is asked for.
    "FastChat": "tokenizer_model_max_length tokenizer_padding_side",
    # The first conversions of LLaMA; transformers goes by max_position_embeddings.
    "LLaMA conversions": "max_sequence_length",
    # megatron and DeepSpeed recipes of checkpointing activations.
    "activation checkpointing": "use_reentrant_checkpointing gradient_checkpointing_kwargs",
}
GENERIC_INERT = frozenset([*_TRANSFORMERS.split(), *" ".join(_TOOLS.values()).split()])

# Keys that switch off features which the architecture lacks: harmless with these values only.
_OFF = (False,)
_HARMLESS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        """alibi attention_bias attn_bias bias enable_bias mlp_bias no_rope parallel_attn
        qk_layernorm qk_layer_norms qk_norm qkv_bias rope_interleave rope_interleaved
        rotary_interleaved
        use_alibi use_bias use_mup use_parallel_residual use_post_norm use_qk_norm use_qkv_bias
        use_sliding_window""".split(),
        _OFF,
    ),
    **dict.fromkeys("partial_rotary_factor rope_percentage rotary_pct".split(), (1.0,)),
    **dict.fromkeys(
        "embedding_multiplier logit_scale logits_scaling residual_multiplier".split(),
        (1.0,),
    ),
}


def is_harmless(key: str, value: Any) -> bool:
    """Whether an unread key is null or has a value that only says that a feature is off."""
    if value is None or value is False:
        return value is None or False in _HARMLESS.get(key, ())
    return not isinstance(value, bool) and value in _HARMLESS.get(key, ())


# Two names of one fact, from transformers' `attribute_map` of these families: the key that a page
# reads, and the other one.
OTHER_SPELLINGS = {
    "n_embd": "hidden_size",
    "n_embed": "hidden_size",
    "n_head": "num_attention_heads",
    "n_heads": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
}
