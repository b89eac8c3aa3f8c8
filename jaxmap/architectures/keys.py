"""The types and bounds of the values in config.json."""

from __future__ import annotations

from typing import Any

# (type, lowest, highest) and the keys that have such values. The bounds are far from those of any
# model; they refuse damaged numbers, such as 10^12 layers, before memory is allocated for them.
_COUNT, _SIZE, _TOKENS = (int, 1, 10_000), (int, 1, 1 << 20), (int, 1, 2**31 - 1)
_POSITIVE, _TO_ONE, _ANY = (float, 1e-30, 1e30), (float, 0.0, 1.0), (float, -1e30, 1e30)
_YES_NO, _NAME, _LIST = (bool, 0, 1), (str, 0, 0), (list, 0, 0)
_KINDS = {
    key: kind
    for kind, keys in {
        _COUNT: """attn_layer_period conv1d_width decoder_sparse_step expert_layer_period
            full_attention_interval linear_conv_kernel_dim moe_k moe_layer_freq moe_layer_interval
            moe_num_experts n_group n_layer n_layers n_routed_experts num_experts num_hidden_layers
            num_layers top_k_experts topk topk_group""",
        (int, 0, 10_000): """attn_layer_offset expert_layer_offset first_k_dense_replace
            moe_layer_start_index moe_num_shared_experts n_shared_experts num_experts_per_tok
            num_local_experts pretraining_tp""",
        (int, 0, 1 << 20): "shared_intermediate_size",
        (int, -1, 10_000): "moe_layer_end_index",
        (int, -10_000, 10_000): "rescale_every",
        _SIZE: """adapter_dim attention_head_dim attention_heads attention_hidden_size conv_kernel
            d_model expansion_ratio ffn_dim ffn_hidden_size head_dim hidden_size intermediate_size
            kv_lora_rank linear_key_head_dim linear_num_key_heads linear_num_value_heads
            linear_value_head_dim lru_width mamba_d_conv mamba_d_ssm mamba_d_state mamba_head_dim
            mamba_n_groups mamba_n_heads mamba_num_heads moe_intermediate_size
            moe_shared_expert_intermediate_size n_embd n_embed n_groups n_head n_heads n_inner
            num_attention_heads num_heads num_key_value_heads num_kv_heads q_lora_rank
            qk_nope_head_dim qk_rope_head_dim rotary_dim shared_expert_intermediate_size
            ssm_state_size state_size v_head_dim word_embed_proj_dim""",
        _TOKENS: """attention_window_size max_position_embeddings max_seq_len model_max_length
            n_positions original_max_position_embeddings seq_length vocab_size window_size""",
        (int, 0, 2**31 - 1): "max_window_layers no_rope_layer_interval sliding_window",
        _POSITIVE: """attention_factor attn_logit_softcapping beta_fast beta_slow clip_qkv
            dim_model_base expand factor final_logit_softcapping high_freq_factor logits_scaling
            logits_soft_cap long_mscale low_freq_factor mamba_expand mixer_rms_eps
            query_pre_attn_scalar rope_local_base_freq rope_theta rotary_emb_base
            routed_scaling_factor scale_emb short_mscale softmax_scale swiglu_alpha swiglu_limit""",
        _TO_ONE: """layer_norm_eps layer_norm_epsilon norm_eps norm_epsilon partial_rotary_factor
            rms_norm_eps rotary_pct""",
        (float, 0.0, 1e30): "moe_norm_min router_jitter_noise time_step_min",
        _ANY: """attention_in_multiplier attention_multiplier attention_out_multiplier
            embedding_multiplier key_multiplier lm_head_multiplier logit_scale moe_scaling mscale
            mscale_all_dim residual_multiplier scale_depth ssm_in_multiplier ssm_out_multiplier""",
        _YES_NO: """alibi attention_bias attention_out_bias bias do_layer_norm_before enable_bias
            layer_norm_elementwise_affine lm_head_bias mamba_conv_bias mamba_norm_before_gate
            mamba_proj_bias mamba_rms_norm mlp_bias multi_query new_decoder_architecture no_bias
            norm_topk_prob parallel_attn projectors_bias qk_layernorm qkv_bias
            _remove_final_layer_norm residual_in_fp32 rope_interleave
            scale_attn_by_inverse_layer_idx scale_attn_weights scale_embedding tie_word_embeddings
            truncate use_bias use_conv_bias use_parallel_residual use_post_norm use_qk_norm
            use_qkv_bias use_sliding_window""",
        _NAME: """activation activation_function hidden_act hidden_activation mamba_hidden_act
            mlp_hidden_act model_type position_embedding_type rope_type scoring_func topk_method
            type""",
        _LIST: """attention_layers attention_types attn_layer_indices block_types layer_types
            layers_block_type long_factor mlp_multipliers mlp_only_layers no_rope_layers
            num_key_value_heads_per_layer short_factor ssm_multipliers time_step_limit""",
    }.items()
    for key in keys.split()
}
_NEVER_NULL = frozenset(
    """
    activation activation_function adapter_dim decoder_sparse_step expansion_ratio ffn_dim
    first_k_dense_replace hidden_act kv_lora_rank layer_norm_eps layer_norm_epsilon max_seq_len
    max_window_layers moe_layer_end_index moe_layer_freq moe_layer_interval moe_layer_start_index
    moe_norm_min moe_scaling norm_eps norm_epsilon num_experts num_experts_per_tok
    partial_rotary_factor rms_norm_eps rope_theta rotary_dim rotary_emb_base rotary_pct
    routed_scaling_factor router_jitter_noise seq_length swiglu_alpha swiglu_limit topk window_size
    """.split()
)


def wanted(key: str, value: Any) -> str | None:
    """A message saying what the value of the key must be, or None if the value is valid."""
    if value is None:
        return "null is not allowed" if key in _NEVER_NULL else None
    if key not in _KINDS:
        return None
    kind, low, high = _KINDS[key]
    if kind in (int, float):
        types = (int,) if kind is int else (int, float)
        number = isinstance(value, types) and not isinstance(value, bool)
        # The comparison works for whole numbers of any size and is false for NaN.
        if number and low <= value <= high:
            return None
        return f"must be a {'whole ' * (kind is int)}number from {low:,} to {high:,}"
    names = {bool: "true or false", str: "a string", list: "a list"}
    return None if isinstance(value, kind) else f"must be {names[kind]}"
