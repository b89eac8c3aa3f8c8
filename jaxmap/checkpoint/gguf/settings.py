"""Settings of config.json that are worked out from a GGUF's metadata and tensors.

Each function takes the facts of one file and returns settings by their names in config.json. Where
metadata leave a setting out that llama.cpp fixes for an architecture, such as which layers have a
window, its value is that of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxmap.checkpoint.gguf.metadata import Metadata
from jaxmap.checkpoint.gguf.rope_settings import Values, rope
from jaxmap.errors import InputError


def biases(f: Metadata) -> Values:
    """Whether attention and the MLP have biases, as the tensors show."""
    return {
        "attention_bias": f.has("blk.0.attn_q.bias"),
        "mlp_bias": f.has("blk.0.ffn_up.bias"),
    }


def llama(f: Metadata) -> Values:
    """Llama, Mistral with a window, or Mixtral: all call themselves llama."""
    experts, window = f.get("expert_count", 0), f.get("attention.sliding_window", 0)
    used = f.get("expert_used_count", 0)
    if experts:
        sizes = {"num_local_experts": experts, "num_experts_per_tok": used}
        return {"model_type": "mixtral", "sliding_window": window or None, **sizes}
    found = biases(f)
    if window:
        if any(found.values()):
            raise InputError(f"{f.where}: biases beside a sliding window are not supported")
        return {"model_type": "mistral", "sliding_window": window}
    return found


def experts(f: Metadata) -> Values:
    """The number of experts, how many a token uses, and their width."""
    return {
        "num_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "moe_intermediate_size": f.need("expert_feed_forward_length"),
    }


def shared_expert(f: Metadata) -> Values:
    """The width of the shared expert."""
    f.get("expert_shared_count")
    return {"shared_expert_intermediate_size": f.need("expert_shared_feed_forward_length")}


def olmoe(f: Metadata) -> Values:
    """OLMoE: its experts, and the bound of queries, keys and values."""
    return {
        "num_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "clip_qkv": f.get("attention.clamp_kqv"),
    }


def gpt_oss(f: Metadata) -> Values:
    """gpt-oss: its experts and its YaRN; raises InputError without YaRN."""
    scaling = rope(f).get("rope_scaling")
    if scaling is None or scaling["rope_type"] != "yarn":
        raise InputError(f"{f.where}: rope.scaling.type is missing: this architecture has yarn")
    return {
        "num_local_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "intermediate_size": f.need("expert_feed_forward_length"),
        "rope_scaling": {**scaling, "truncate": False},
    }


def query_scale(large: int) -> Callable[[Metadata], Values]:
    """Gemma's: by the head's width, but of the size with `large` layers by hidden size / heads."""

    def scale(f: Metadata) -> Values:
        if f.need("block_count") == large:
            return {"query_pre_attn_scalar": f.need("embedding_length") // f.heads}
        return {"query_pre_attn_scalar": f.head_dim}

    return scale


def gemma3(f: Metadata) -> Values:
    """Gemma 3: the type of each layer, the base of local RoPE, the cap of the logits."""
    layers, pattern = f.need("block_count"), f.list_of("attention.sliding_window_pattern")
    if pattern is None:
        period = f.get("attention.sliding_window_pattern", 6)
        pattern = [(layer + 1) % period != 0 for layer in range(layers)]
    kinds = ["sliding_attention" if near else "full_attention" for near in pattern]
    return {
        "layer_types": kinds,
        "rope_local_base_freq": f.get("rope.freq_base_swa", 10_000.0),
        "final_logit_softcapping": f.get("final_logit_softcapping"),
    }


def falcon(f: Metadata) -> Values:
    """Falcon: which of its three forms the tensors show."""
    f.require("rope.dimension_count", f.head_dim)
    two = f.has("blk.0.attn_norm_2.weight")
    new = two or f.groups > 1
    return {
        "new_decoder_architecture": new,
        "num_ln_in_parallel_attn": (2 if two else 1) if new else None,
        "multi_query": not new,
        "num_kv_heads": f.groups,
        "ffn_hidden_size": f.get("feed_forward_length") or 4 * f.need("embedding_length"),
        "bias": f.has("blk.0.attn_qkv.bias"),
    }


def bloom(f: Metadata) -> Values:
    """BLOOM: its context; the MLP is four times as wide as the model."""
    f.require("feed_forward_length", 4 * f.need("embedding_length"))
    f.require("attention.head_count_kv", f.heads)
    return {"seq_length": f.get("context_length", 2048)}


def gpt2(f: Metadata) -> Values:
    """GPT-2: the width of its MLP."""
    f.require("attention.head_count_kv", f.heads)
    return {"n_inner": f.get("feed_forward_length")}


def starcoder(f: Metadata) -> Values:
    """GPT-BigCode: the width of its MLP, and whether all heads share keys and values."""
    return {"n_inner": f.get("feed_forward_length"), "multi_query": f.groups == 1}


def mpt(f: Metadata) -> Values:
    """MPT: the width of its MLP, its biases and its bound of queries, keys and values."""
    f.require("attention.head_count_kv", f.heads)
    f.require("attention.max_alibi_bias", 8.0)
    width, inner = f.need("embedding_length"), f.need("feed_forward_length")
    if inner % width:
        raise InputError(f"{f.where}: feed_forward_length is no multiple of embedding_length")
    return {
        "expansion_ratio": inner // width,
        "no_bias": not f.has("blk.0.attn_norm.bias"),
        "attn_config": {
            "clip_qkv": f.get("attention.clamp_kqv"),
            "qk_ln": f.has("blk.0.attn_q_norm.weight"),
        },
    }


def neox(f: Metadata) -> Values:
    """GPT-NeoX: whether attention and the MLP are parallel."""
    f.require("attention.head_count_kv", f.heads)
    return {"use_parallel_residual": f.get("use_parallel_residual", True)}


def stablelm(f: Metadata) -> Values:
    """StableLM: whether layers are parallel, and which norms and biases the tensors show."""
    return {
        "use_parallel_residual": f.get("use_parallel_residual", not f.has("blk.0.ffn_norm.weight")),
        "use_qkv_bias": f.has("blk.0.attn_q.bias"),
        "qk_layernorm": f.has("blk.0.attn_q_norm.weight"),
    }


def granite(f: Metadata) -> Values:
    """Granite: its multipliers, and its biases."""
    return {
        "attention_multiplier": f.get("attention.scale", f.head_dim**-0.5),
        "embedding_multiplier": f.get("embedding_scale", 1.0),
        "residual_multiplier": f.get("residual_scale", 1.0),
        "logits_scaling": f.get("logit_scale", 1.0),
        **biases(f),
    }


def cohere(f: Metadata) -> Values:
    """Cohere: the scale of the logits, norms of queries and keys, biases."""
    return {
        "logit_scale": f.need("logit_scale"),
        "use_qk_norm": f.has("blk.0.attn_q_norm.weight"),
        "attention_bias": f.has("blk.0.attn_q.bias"),
    }


def smollm3(f: Metadata) -> Values:
    """SmolLM3: every fourth layer has no RoPE."""
    layers = range(f.need("block_count"))
    return {"no_rope_layers": [int((layer + 1) % 4 != 0) for layer in layers], **biases(f)}


def mamba(f: Metadata) -> Values:
    """Mamba: its biases."""
    f.require("ssm.dt_b_c_rms", False)
    f.require("feed_forward_length", 0)
    f.require("attention.head_count", 0)
    return {"use_bias": f.has("blk.0.ssm_in.bias"), "use_conv_bias": f.has("blk.0.ssm_conv1d.bias")}


def glm4(f: Metadata) -> Values:
    """GLM-4: its biases and the width of a head."""
    return {"attention_bias": f.has("blk.0.attn_q.bias"), "head_dim": f.head_dim}


def cohere2(f: Metadata) -> Values:
    """Cohere 2: the scale of the logits, and its biases."""
    return {"logit_scale": f.need("logit_scale"), "attention_bias": f.has("blk.0.attn_q.bias")}


def seed_oss(f: Metadata) -> Values:
    """Seed-OSS: its biases."""
    return {
        "attention_bias": f.has("blk.0.attn_q.bias"),
        "attention_out_bias": f.has("blk.0.attn_output.bias"),
        "mlp_bias": f.has("blk.0.ffn_up.bias"),
    }


def local_experts(f: Metadata) -> Values:
    """The number of experts and how many a token uses, under Mixtral's names."""
    return {
        "num_local_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
    }


def shared_mlp(f: Metadata) -> Values:
    """Granite's MLP beside the experts, which other files of the architecture lack."""
    size = f.get("expert_shared_feed_forward_length", 0)
    return {"model_type": "granitemoeshared", "shared_intermediate_size": size} if size else {}


def deepseek2(f: Metadata) -> Values:
    """DeepSeek-V2, or V3 where experts are chosen by sigmoids.

    llama.cpp keeps the latent keys and values of all heads as one head; `key_length_mla` and
    `value_length_mla` are the widths of a head, as `key_length` is in older files.
    """
    f.inert(("attention.head_count_kv",))
    turned = f.need("rope.dimension_count")
    key, value = f.get("attention.key_length"), f.get("attention.value_length")
    key = f.get("attention.key_length_mla") or key
    value = f.get("attention.value_length_mla") or value
    if not key or not value:
        raise InputError(f"{f.where}: deepseek2.attention.key_length or value_length is missing")
    sigmoid = f.get("expert_gating_func", 1) == 2
    f.require("expert_gating_func", 1, 2)
    groups, kept = f.get("expert_group_count") or 1, f.get("expert_group_used_count") or 1
    renorm = f.get("expert_weights_norm", False)
    if sigmoid:
        own: Values = {"model_type": "deepseek_v3", "norm_topk_prob": renorm}
    else:
        f.require("expert_weights_norm", False)
        own = {"topk_method": "group_limited_greedy" if groups > 1 else "greedy"}
    scaling = rope(f).get("rope_scaling")
    gain = f.get("rope.scaling.yarn_log_multiplier")
    if scaling is not None and scaling["rope_type"] == "yarn" and gain:
        mscale = round(10 * gain, 6)  # the converter writes a tenth of it
        scaling = {**scaling, "mscale": mscale, "mscale_all_dim": mscale}
    return {
        **own,
        "n_group": groups,
        "topk_group": kept,
        "q_lora_rank": f.get("attention.q_lora_rank"),
        "kv_lora_rank": f.need("attention.kv_lora_rank"),
        "qk_rope_head_dim": turned,
        "qk_nope_head_dim": key - turned,
        "v_head_dim": value,
        "first_k_dense_replace": f.need("leading_dense_block_count"),
        "n_routed_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "n_shared_experts": f.need("expert_shared_count"),
        "moe_intermediate_size": f.need("expert_feed_forward_length"),
        "routed_scaling_factor": f.get("expert_weights_scale", 1.0),
        **({"rope_scaling": scaling} if scaling else {}),
    }
