"""The architectures of GGUF files: which metadata is which setting of config.json.

An entry of ARCHITECTURES says of one `general.architecture` which metadata key is which setting,
what its graph in llama.cpp fixes, and what has to be worked out (`settings`, `rope_settings`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxmap.checkpoint.gguf import rope_settings as rope
from jaxmap.checkpoint.gguf import settings as of
from jaxmap.checkpoint.gguf.metadata import Metadata
from jaxmap.checkpoint.gguf.rope_settings import Values


@dataclasses.dataclass(frozen=True)
class GgufArchitecture:
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
    more: tuple[Callable[[Metadata], Values], ...] = ()
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


_KV = "attention.head_count_kv"
_GPT2_KEYS = {
    "block_count": "n_layer",
    "embedding_length": "n_embd",
    "attention.head_count": "n_head",
    "context_length": "n_positions",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
_TURNED = (rope.head_dim, rope.rope)
_MROPE = ("rope.dimension_sections",)  # of pictures: in text all coordinates are the position
_SOFT_CAPS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
WINDOW = {"attention.sliding_window": "sliding_window"}
_PHI2 = (rope.turned_share("partial_rotary_factor"), rope.rope)

ARCHITECTURES: Mapping[str, GgufArchitecture] = {
    "llama": GgufArchitecture("llama", _RMS, more=(*_TURNED, of.llama)),
    "qwen2": GgufArchitecture("qwen2", _RMS, more=_TURNED, inert=_MROPE),
    "qwen2vl": GgufArchitecture("qwen2", _RMS, more=_TURNED, inert=_MROPE),
    "qwen3": GgufArchitecture("qwen3", _RMS, more=_TURNED, inert=_MROPE),
    "qwen2moe": GgufArchitecture("qwen2_moe", _RMS, {"norm_topk_prob": False},
                             (*_TURNED, of.experts, of.shared_expert)),
    "qwen3moe": GgufArchitecture("qwen3_moe", _RMS, {"norm_topk_prob": True},
                             (*_TURNED, of.experts)),
    "gemma": GgufArchitecture("gemma", _RMS, more=_TURNED),
    "gemma2": GgufArchitecture("gemma2", {**_RMS, **WINDOW, **_SOFT_CAPS},
                           more=(*_TURNED, of.query_scale(46))),
    "gemma3": GgufArchitecture("gemma3_text", {**_RMS, **WINDOW},
                           more=(*_TURNED, of.query_scale(62), of.gemma3)),
    "phi2": GgufArchitecture("phi", _LAYER_NORM, more=_PHI2),
    "phi3": GgufArchitecture("phi3", {**_RMS, **WINDOW},
                         more=(rope.turned_share("partial_rotary_factor"), rope.long_rope)),
    "gpt-oss": GgufArchitecture("gpt_oss", {**_RMS, **WINDOW}, more=(rope.head_dim, of.gpt_oss)),
    "gpt2": GgufArchitecture("gpt2", _GPT2_KEYS, more=(of.gpt2,)),
    "starcoder": GgufArchitecture("gpt_bigcode", _GPT2_KEYS, more=(of.starcoder,)),
    "starcoder2": GgufArchitecture(
        "starcoder2", {**_SIZES, **WINDOW, "attention.layer_norm_epsilon": "norm_epsilon"},
        more=(*_TURNED, lambda f: {"use_bias": f.has("blk.0.attn_q.bias")})),
    "falcon": GgufArchitecture(
        "falcon",
        {**{k: v for k, v in _SIZES.items() if k not in ("feed_forward_length", _KV)},
         "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        more=(rope.rope, of.falcon)),
    "bloom": GgufArchitecture("bloom", {
        "block_count": "n_layer", "embedding_length": "hidden_size",
        "attention.head_count": "n_head", "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        more=(of.bloom,)),
    "gptneox": GgufArchitecture("gpt_neox", {**{k: v for k, v in _LAYER_NORM.items()
                                            if k not in (_KV, "rope.freq_base")},
                                         "rope.freq_base": "rotary_emb_base"},
                            more=(rope.turned_share("rotary_pct"), rope.rope, of.neox)),
    "mpt": GgufArchitecture("mpt", {
        "block_count": "n_layers", "embedding_length": "d_model", "context_length": "max_seq_len",
        "attention.head_count": "n_heads", "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        more=(of.mpt,)),
    "stablelm": GgufArchitecture("stablelm", _LAYER_NORM, more=(*_PHI2, of.stablelm)),
    "olmo": GgufArchitecture("olmo", _SIZES, more=(*_TURNED, lambda f: {
        "clip_qkv": f.get("attention.clamp_kqv")}), inert=("attention.layer_norm_epsilon",)),
    "olmo2": GgufArchitecture("olmo2", _RMS, more=_TURNED),
    "olmoe": GgufArchitecture("olmoe", _RMS, {"norm_topk_prob": False}, (*_TURNED, of.olmoe)),
    "granite": GgufArchitecture("granite", _RMS, more=(*_TURNED, of.granite)),
    "command-r": GgufArchitecture("cohere", _LAYER_NORM, more=(*_TURNED, of.cohere)),
    "nemotron": GgufArchitecture("nemotron", {**_SIZES, "attention.layer_norm_epsilon": "norm_eps"},
                             more=(*_PHI2, lambda f: {**of.biases(f), "head_dim": f.head_dim})),
    "smollm3": GgufArchitecture("smollm3", _RMS, more=(*_TURNED, of.smollm3)),
    "glm4": GgufArchitecture("glm4", _RMS, more=(*_PHI2, of.glm4)),
    "cohere2": GgufArchitecture("cohere2", {**_LAYER_NORM, **WINDOW},
                            more=(*_TURNED, of.cohere2)),
    "exaone": GgufArchitecture(
        "exaone", {**_SIZES, "attention.layer_norm_rms_epsilon": "layer_norm_epsilon"},
        more=_TURNED),
    # As Llama: the converter takes the fused queries, keys and values apart.
    "internlm2": GgufArchitecture("llama", _RMS, more=(*_TURNED, of.biases)),
    "arcee": GgufArchitecture("arcee", _RMS, more=(*_TURNED, of.biases)),
    "seed_oss": GgufArchitecture("seed_oss", _RMS, more=(*_TURNED, of.seed_oss)),
    "granitemoe": GgufArchitecture("granitemoe", _RMS,
                               more=(*_TURNED, of.granite, of.local_experts, of.shared_mlp)),
    "deepseek2": GgufArchitecture("deepseek_v2", {k: v for k, v in _RMS.items() if k != _KV},
                              more=(of.deepseek2,)),
    "mamba": GgufArchitecture("mamba", {
        "block_count": "num_hidden_layers", "embedding_length": "hidden_size",
        "ssm.conv_kernel": "conv_kernel",
        "ssm.state_size": "state_size", "ssm.time_step_rank": "time_step_rank",
        "ssm.inner_size": "intermediate_size",
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon"},
        more=(of.mamba,), inert=("context_length",)),
}  # fmt: skip
