"""Small checkpoints of each architecture of GGUF files, as config.json before conversion."""

from __future__ import annotations

from typing import Any

from support.checkpoints import V

BASE: dict[str, Any] = dict(
    vocab_size=V,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    max_position_embeddings=256,
    rope_theta=20_000.0,
)
RMS = dict(BASE, rms_norm_eps=2e-5)
LAYER_NORM = dict(BASE, layer_norm_eps=2e-5, partial_rotary_factor=0.5)
GPT2 = dict(vocab_size=V, n_embd=16, n_layer=2, n_head=4, n_positions=256, n_inner=40)
FALCON = dict(
    vocab_size=V, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=256,
    model_type="falcon", layer_norm_epsilon=2e-5, bias=False, alibi=False, parallel_attn=True,
)  # fmt: skip
LATENT = dict(
    RMS, num_key_value_heads=4, kv_lora_rank=10, qk_nope_head_dim=6,
    qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
    moe_intermediate_size=12, first_k_dense_replace=1, routed_scaling_factor=1.5,
)  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "llama": dict(RMS, model_type="llama", head_dim=8),
    "llama tied": dict(RMS, model_type="llama", tie_word_embeddings=True),
    "llama biases": dict(RMS, model_type="llama", attention_bias=True, mlp_bias=True),
    "llama linear": dict(
        RMS, model_type="llama", rope_scaling={"rope_type": "linear", "factor": 4.0}
    ),
    "mistral": dict(RMS, model_type="mistral", sliding_window=16),
    "mixtral": dict(RMS, model_type="mixtral", num_local_experts=4, num_experts_per_tok=2),
    "qwen2": dict(RMS, model_type="qwen2"),
    "qwen2 yarn": dict(RMS, model_type="qwen2", rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    "qwen3": dict(RMS, model_type="qwen3", head_dim=8, tie_word_embeddings=True),
    "qwen2moe": dict(RMS, model_type="qwen2_moe", num_experts=4, num_experts_per_tok=2,
                     moe_intermediate_size=12, shared_expert_intermediate_size=20),
    "qwen3moe": dict(RMS, model_type="qwen3_moe", head_dim=8, num_experts=4, num_experts_per_tok=2,
                     moe_intermediate_size=12, norm_topk_prob=True),
    "gemma": dict(RMS, model_type="gemma", head_dim=8),
    "gemma2": dict(RMS, model_type="gemma2", head_dim=8, query_pre_attn_scalar=8, sliding_window=16,
                   attn_logit_softcapping=40.0, final_logit_softcapping=20.0),
    "gemma3": dict(RMS, model_type="gemma3_text", head_dim=8, query_pre_attn_scalar=8,
                   sliding_window=16, num_hidden_layers=7),
    "gemma3 linear": dict(RMS, model_type="gemma3_text", head_dim=8, query_pre_attn_scalar=8,
                          sliding_window=16, num_hidden_layers=7,
                          rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "phi2": dict(LAYER_NORM, model_type="phi"),
    "phi3": dict(RMS, model_type="phi3", sliding_window=16, pad_token_id=0),
    "gpt-oss": dict(RMS, model_type="gpt_oss", head_dim=8, sliding_window=16, num_local_experts=4,
                    num_experts_per_tok=2, rope_scaling={
                        "rope_type": "yarn", "factor": 4.0, "truncate": False,
                        "original_max_position_embeddings": 64}),
    "gpt2": dict(GPT2, model_type="gpt2"),
    "starcoder": dict(GPT2, model_type="gpt_bigcode"),
    "starcoder2": dict(BASE, model_type="starcoder2", norm_epsilon=2e-5),
    "falcon 7b": dict(FALCON, new_decoder_architecture=False, multi_query=True),
    "falcon 40b": dict(FALCON, new_decoder_architecture=True, num_kv_heads=2,
                       num_ln_in_parallel_attn=2),
    "falcon 11b": dict(FALCON, new_decoder_architecture=True, num_kv_heads=2,
                       num_ln_in_parallel_attn=1),
    "bloom": dict(model_type="bloom", vocab_size=V, hidden_size=16, n_layer=2, n_head=4,
                  seq_length=256, layer_norm_epsilon=2e-5),
    "gptneox": dict({**LAYER_NORM, "partial_rotary_factor": None, "num_key_value_heads": None,
                     "rope_theta": None}, model_type="gpt_neox",
                    rotary_pct=0.5, use_parallel_residual=True, rotary_emb_base=20_000.0),
    "mpt": dict(model_type="mpt", vocab_size=V, d_model=16, n_layers=2, n_heads=4, max_seq_len=256,
                expansion_ratio=3, layer_norm_epsilon=2e-5, no_bias=True),
    "stablelm": dict(LAYER_NORM, model_type="stablelm", use_parallel_residual=False,
                     use_qkv_bias=True),
    "stablelm 12b": dict(LAYER_NORM, model_type="stablelm", use_parallel_residual=True,
                         qk_layernorm=True),
    "olmo": dict(BASE, model_type="olmo", clip_qkv=8.0),
    "olmo2": dict(RMS, model_type="olmo2"),
    "olmoe": dict(RMS, model_type="olmoe", num_experts=4, num_experts_per_tok=2,
                  norm_topk_prob=False),
    "granite": dict(RMS, model_type="granite", attention_multiplier=0.3, embedding_multiplier=3.0,
                    residual_multiplier=0.5, logits_scaling=2.0),
    "command-r": dict({**BASE, "layer_norm_eps": 2e-5}, model_type="cohere", logit_scale=0.25,
                      tie_word_embeddings=True),
    "nemotron": dict(BASE, model_type="nemotron", norm_eps=2e-5, partial_rotary_factor=0.5),
    "smollm3": dict(RMS, model_type="smollm3", num_hidden_layers=4),
    "glm4": dict(RMS, model_type="glm4", head_dim=8, partial_rotary_factor=0.5, attention_bias=True,
                 pad_token_id=0),
    "cohere2": dict({**BASE, "layer_norm_eps": 2e-5}, model_type="cohere2", logit_scale=0.25,
                    sliding_window=16, num_hidden_layers=5, tie_word_embeddings=True),
    "exaone": dict(BASE, model_type="exaone", layer_norm_epsilon=2e-5, tie_word_embeddings=False),
    "internlm2": dict(RMS, model_type="internlm2", bias=False),
    "arcee": dict(RMS, model_type="arcee", head_dim=8),
    "seed_oss": dict(RMS, model_type="seed_oss", head_dim=8),
    "granitemoe": dict(RMS, model_type="granitemoe", attention_multiplier=0.3,
                       embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=2.0,
                       num_local_experts=4, num_experts_per_tok=2),
    "granitemoe shared": dict(RMS, model_type="granitemoeshared", attention_multiplier=0.3,
                              embedding_multiplier=3.0, residual_multiplier=0.5,
                              logits_scaling=2.0, num_local_experts=4, num_experts_per_tok=2,
                              shared_intermediate_size=20),
    "deepseek2": dict(LATENT, model_type="deepseek_v2", n_group=1, topk_group=1),
    "deepseek2 v2": dict(LATENT, model_type="deepseek_v2", q_lora_rank=12, n_group=2, topk_group=1,
                         topk_method="group_limited_greedy", rope_scaling={
                             "rope_type": "yarn", "factor": 8.0, "mscale": 0.707,
                             "mscale_all_dim": 0.707, "original_max_position_embeddings": 64}),
    "deepseek2 v3": dict(LATENT, model_type="deepseek_v3", q_lora_rank=12, n_group=2, topk_group=1,
                         norm_topk_prob=True),
    "mamba": dict(model_type="mamba", vocab_size=V, hidden_size=16, num_hidden_layers=2,
                  state_size=4, conv_kernel=4, intermediate_size=32, time_step_rank=3,
                  layer_norm_epsilon=2e-5),
}  # fmt: skip


def config_of(name: str) -> dict[str, Any]:
    """A case without the keys that it takes out of what it is based on."""
    left = {key: value for key, value in CASES[name].items() if value is not None}
    return {**left, "q_lora_rank": None} if name == "deepseek2" else left
