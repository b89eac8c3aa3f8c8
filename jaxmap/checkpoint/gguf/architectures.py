"""The architectures of GGUF files: which metadata is which setting of config.json.

An entry of ARCHITECTURES says of one `general.architecture` which metadata key is which setting,
what its graph in llama.cpp fixes, and what has to be worked out. Where metadata leaves a setting
out that llama.cpp fixes (which layers have a window), the value is the one of llama.cpp.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxmap.checkpoint.gguf.facts import Facts
from jaxmap.errors import InputError

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One `general.architecture`.

    Fields:
      model_type: of the family's page.
      keys: metadata key, without the architecture's name -> key of config.json.
      fixed: settings that are the same in all files.
      more: further settings; in order, later ones win.
      inert: metadata keys that cannot change a logit here.
    """

    model_type: str
    keys: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    more: tuple[Callable[[Facts], Values], ...] = ()
    inert: tuple[str, ...] = ()


_SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "rope.freq_base": "rope_theta",
}
_RMS = {**_SIZES, "attention.layer_norm_rms_epsilon": "rms_norm_eps"}
_LAYER_NORM = {**_SIZES, "attention.layer_norm_epsilon": "layer_norm_eps"}


def _head_dim(f: Facts) -> Values:
    """Heads that turn whole."""
    f.require("rope.dimension_count", f.head_dim)
    return {"head_dim": f.head_dim}


def _share(key: str) -> Callable[[Facts], Values]:
    """Heads of which the first `rope.dimension_count` channels turn."""

    def share(f: Facts) -> Values:
        return {key: f.get("rope.dimension_count", f.head_dim) / f.head_dim}

    return share


def _rope(f: Facts) -> Values:
    """Positions that are scaled, by numbers or by a factor for each frequency."""
    kind = f.get("rope.scaling.type", "none")
    trained = f.get("rope.scaling.original_context_length")
    factor = f.get("rope.scaling.factor") or f.get("rope.scale_linear")
    if f.has("rope_freqs.weight"):
        factors = f.tensor("rope_freqs.weight")
        return {"rope_scaling": _factors(factors, factors, 1.0, f.need("context_length"))}
    if kind == "yarn":
        own: Values = {
            "attention_factor": f.get("rope.scaling.yarn_attn_factor"),
            "beta_fast": f.get("rope.scaling.yarn_beta_fast"),
            "beta_slow": f.get("rope.scaling.yarn_beta_slow"),
        }
        f.require("rope.scaling.yarn_ext_factor", 1.0)
        f.require("rope.scaling.attn_factor", 1.0)
        facts = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": trained}
        given = {key: value for key, value in own.items() if value is not None}
        return {"rope_scaling": {**facts, **given}}
    if kind not in ("none", "linear"):
        raise InputError(f"{f.where}: rope.scaling.type {kind!r} is not supported here")
    if factor in (None, 1.0):
        return {}
    return {"rope_scaling": {"rope_type": "linear", "factor": factor}}


def _factors(short: list[float], long: list[float], gain: float, trained: int) -> Values:
    """LongRoPE, whose factors for each frequency can stand for any scaling."""
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "attention_factor": gain,
        "original_max_position_embeddings": trained,
    }


def _long_rope(f: Facts) -> Values:
    """Phi-3's, of models with a long context; its factors are tensors."""
    f.require("rope.scaling.type", "longrope", "none")
    gain = f.get("rope.scaling.attn_factor", 1.0)
    trained = f.get("rope.scaling.original_context_length", f.need("context_length"))
    names = ("rope_factors_short.weight", "rope_factors_long.weight")
    if not all(f.has(name) for name in names):
        return {}
    short, long = (f.tensor(name) for name in names)
    return {"rope_scaling": _factors(short, long, gain, trained)}


def _biases(f: Facts) -> Values:
    return {
        "attention_bias": f.has("blk.0.attn_q.bias"),
        "mlp_bias": f.has("blk.0.ffn_up.bias"),
    }


def _llama(f: Facts) -> Values:
    """Llama, Mistral with a window, or Mixtral: all call themselves llama."""
    experts, window = f.get("expert_count", 0), f.get("attention.sliding_window", 0)
    used = f.get("expert_used_count", 0)
    if experts:
        sizes = {"num_local_experts": experts, "num_experts_per_tok": used}
        return {"model_type": "mixtral", "sliding_window": window or None, **sizes}
    biases = _biases(f)
    if window:
        if any(biases.values()):
            raise InputError(f"{f.where}: biases beside a sliding window are not supported")
        return {"model_type": "mistral", "sliding_window": window}
    return biases


def _experts(f: Facts) -> Values:
    return {
        "num_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "moe_intermediate_size": f.need("expert_feed_forward_length"),
    }


def _shared_expert(f: Facts) -> Values:
    f.get("expert_shared_count")
    return {"shared_expert_intermediate_size": f.need("expert_shared_feed_forward_length")}


def _olmoe(f: Facts) -> Values:
    return {
        "num_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "clip_qkv": f.get("attention.clamp_kqv"),
    }


def _gpt_oss(f: Facts) -> Values:
    scaling = _rope(f).get("rope_scaling")
    if scaling is None or scaling["rope_type"] != "yarn":
        raise InputError(f"{f.where}: rope.scaling.type is missing: this architecture has yarn")
    return {
        "num_local_experts": f.need("expert_count"),
        "num_experts_per_tok": f.need("expert_used_count"),
        "intermediate_size": f.need("expert_feed_forward_length"),
        "rope_scaling": {**scaling, "truncate": False},
    }


def _query_scale(large: int) -> Callable[[Facts], Values]:
    """Gemma's: by the head's width, but of the size with `large` layers by hidden size / heads."""

    def scale(f: Facts) -> Values:
        if f.need("block_count") == large:
            return {"query_pre_attn_scalar": f.need("embedding_length") // f.heads}
        return {"query_pre_attn_scalar": f.head_dim}

    return scale


def _gemma3(f: Facts) -> Values:
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


def _falcon(f: Facts) -> Values:
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


def _bloom(f: Facts) -> Values:
    f.require("feed_forward_length", 4 * f.need("embedding_length"))
    f.require("attention.head_count_kv", f.heads)
    return {"seq_length": f.get("context_length", 2048)}


def _gpt2(f: Facts) -> Values:
    f.require("attention.head_count_kv", f.heads)
    return {"n_inner": f.get("feed_forward_length")}


def _starcoder(f: Facts) -> Values:
    return {"n_inner": f.get("feed_forward_length"), "multi_query": f.groups == 1}


def _mpt(f: Facts) -> Values:
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


def _neox(f: Facts) -> Values:
    f.require("attention.head_count_kv", f.heads)
    return {"use_parallel_residual": f.get("use_parallel_residual", True)}


def _stablelm(f: Facts) -> Values:
    return {
        "use_parallel_residual": f.get("use_parallel_residual", not f.has("blk.0.ffn_norm.weight")),
        "use_qkv_bias": f.has("blk.0.attn_q.bias"),
        "qk_layernorm": f.has("blk.0.attn_q_norm.weight"),
    }


def _granite(f: Facts) -> Values:
    return {
        "attention_multiplier": f.get("attention.scale", f.head_dim**-0.5),
        "embedding_multiplier": f.get("embedding_scale", 1.0),
        "residual_multiplier": f.get("residual_scale", 1.0),
        "logits_scaling": f.get("logit_scale", 1.0),
        **_biases(f),
    }


def _cohere(f: Facts) -> Values:
    return {
        "logit_scale": f.need("logit_scale"),
        "use_qk_norm": f.has("blk.0.attn_q_norm.weight"),
        "attention_bias": f.has("blk.0.attn_q.bias"),
    }


def _smollm3(f: Facts) -> Values:
    layers = range(f.need("block_count"))
    return {"no_rope_layers": [int((layer + 1) % 4 != 0) for layer in layers], **_biases(f)}


def _mamba(f: Facts) -> Values:
    f.require("ssm.dt_b_c_rms", False)
    f.require("feed_forward_length", 0)
    f.require("attention.head_count", 0)
    return {"use_bias": f.has("blk.0.ssm_in.bias"), "use_conv_bias": f.has("blk.0.ssm_conv1d.bias")}


_KV = "attention.head_count_kv"
_GPT2_KEYS = {
    "block_count": "n_layer",
    "embedding_length": "n_embd",
    "attention.head_count": "n_head",
    "context_length": "n_positions",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
_TURNED = (_head_dim, _rope)
_MROPE = ("rope.dimension_sections",)  # of pictures: in text all coordinates are the position
_SOFT_CAPS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
WINDOW = {"attention.sliding_window": "sliding_window"}
_PHI2 = (_share("partial_rotary_factor"), _rope)

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", _RMS, more=(*_TURNED, _llama)),
    "qwen2": Architecture("qwen2", _RMS, more=_TURNED, inert=_MROPE),
    "qwen2vl": Architecture("qwen2", _RMS, more=_TURNED, inert=_MROPE),
    "qwen3": Architecture("qwen3", _RMS, more=_TURNED, inert=_MROPE),
    "qwen2moe": Architecture("qwen2_moe", _RMS, {"norm_topk_prob": False},
                             (*_TURNED, _experts, _shared_expert)),
    "qwen3moe": Architecture("qwen3_moe", _RMS, {"norm_topk_prob": True}, (*_TURNED, _experts)),
    "gemma": Architecture("gemma", _RMS, more=_TURNED),
    "gemma2": Architecture("gemma2", {**_RMS, **WINDOW, **_SOFT_CAPS},
                           more=(*_TURNED, _query_scale(46))),
    "gemma3": Architecture("gemma3_text", {**_RMS, **WINDOW},
                           more=(*_TURNED, _query_scale(62), _gemma3)),
    "phi2": Architecture("phi", _LAYER_NORM, more=_PHI2),
    "phi3": Architecture("phi3", {**_RMS, **WINDOW},
                         more=(_share("partial_rotary_factor"), _long_rope)),
    "gpt-oss": Architecture("gpt_oss", {**_RMS, **WINDOW}, more=(_head_dim, _gpt_oss)),
    "gpt2": Architecture("gpt2", _GPT2_KEYS, more=(_gpt2,)),
    "starcoder": Architecture("gpt_bigcode", _GPT2_KEYS, more=(_starcoder,)),
    "starcoder2": Architecture(
        "starcoder2", {**_SIZES, **WINDOW, "attention.layer_norm_epsilon": "norm_epsilon"},
        more=(*_TURNED, lambda f: {"use_bias": f.has("blk.0.attn_q.bias")})),
    "falcon": Architecture(
        "falcon",
        {**{k: v for k, v in _SIZES.items() if k not in ("feed_forward_length", _KV)},
         "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        more=(_rope, _falcon)),
    "bloom": Architecture("bloom", {
        "block_count": "n_layer", "embedding_length": "hidden_size",
        "attention.head_count": "n_head", "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        more=(_bloom,)),
    "gptneox": Architecture("gpt_neox", {**{k: v for k, v in _LAYER_NORM.items()
                                            if k not in (_KV, "rope.freq_base")},
                                         "rope.freq_base": "rotary_emb_base"},
                            more=(_share("rotary_pct"), _rope, _neox)),
    "mpt": Architecture("mpt", {
        "block_count": "n_layers", "embedding_length": "d_model", "context_length": "max_seq_len",
        "attention.head_count": "n_heads", "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        more=(_mpt,)),
    "stablelm": Architecture("stablelm", _LAYER_NORM, more=(*_PHI2, _stablelm)),
    "olmo": Architecture("olmo", _SIZES, more=(*_TURNED, lambda f: {
        "clip_qkv": f.get("attention.clamp_kqv")}), inert=("attention.layer_norm_epsilon",)),
    "olmo2": Architecture("olmo2", _RMS, more=_TURNED),
    "olmoe": Architecture("olmoe", _RMS, {"norm_topk_prob": False}, (*_TURNED, _olmoe)),
    "granite": Architecture("granite", _RMS, more=(*_TURNED, _granite)),
    "command-r": Architecture("cohere", _LAYER_NORM, more=(*_TURNED, _cohere)),
    "nemotron": Architecture("nemotron", {**_SIZES, "attention.layer_norm_epsilon": "norm_eps"},
                             more=(*_PHI2, lambda f: {**_biases(f), "head_dim": f.head_dim})),
    "smollm3": Architecture("smollm3", _RMS, more=(*_TURNED, _smollm3)),
    "mamba": Architecture("mamba", {
        "block_count": "num_hidden_layers", "embedding_length": "hidden_size",
        "ssm.conv_kernel": "conv_kernel",
        "ssm.state_size": "state_size", "ssm.time_step_rank": "time_step_rank",
        "ssm.inner_size": "intermediate_size",
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon"},
        more=(_mamba,), inert=("context_length",)),
}  # fmt: skip
