"""Kimi Linear: Kimi delta attention, and latent attention in every fourth layer; experts.

Latent attention has no rope here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxmap.architectures import deepseek_v2, exaone_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, QUERY, ROUTER, UP, Row, each_expert
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import Latent
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec

PAPER = "Kimi Team 2025, arXiv:2510.26692"

_MIXERS = {"full_attention": "latent", "linear_attention": "kimi_delta"}


def _mixers(c: Config, L: int, linear: Config | None) -> list[str]:
    """The mixer of each layer: from layer_types, else from the lists of linear_attn_config."""
    kinds, full = c.get("layer_types"), None
    if linear is not None:
        linear.inert("kda_layers")  # the others
        full = linear.get("full_attn_layers")
    if kinds is None:
        full = [i + 1 for i in range(4, L, 4)] if full is None else full
        kinds = ["full_attention" if i + 1 in full else "linear_attention" for i in range(L)]
    if len(kinds) != L or set(kinds) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    return [_MIXERS[kind] for kind in kinds]


def _delta(c: Config, linear: Config | None) -> Delta:
    """The facts of Kimi delta attention, which linear_attn_config has in released files."""

    def read(inner: str, outer: str, default: int) -> int:
        own = c.get(outer, default)
        return own if linear is None else linear.get(inner, own)

    heads = read("num_heads", "linear_num_heads", 32)
    width = read("head_dim", "linear_head_dim", 128)
    taps = read("short_conv_kernel_size", "linear_conv_kernel_dim", 4)
    return Delta(H=heads, G=heads, K=width, C=width, taps=taps)


def _experts(c: Config) -> Experts:
    c.require("moe_router_activation_func", ("sigmoid",), "sigmoid")
    c.require("scoring_func", ("sigmoid",), "sigmoid")
    c.require("topk_method", ("noaux_tc",), "noaux_tc")
    c.require("moe_layer_freq", (1,), 1)
    c.inert("use_grouped_topk", "num_nextn_predict_layers", "output_router_logits", "ep_size")
    F = c.get("moe_intermediate_size", 1024)
    groups, kept = c.get("num_expert_group"), c.get("topk_group", 1)
    renorm, shared = c.get("moe_renormalize"), c.get("num_shared_experts")
    return Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.first("num_experts_per_token", "num_experts_per_tok"),
        F=F,
        score="sigmoid",
        renorm=c.get("norm_topk_prob", True) if renorm is None else renorm,
        added=1e-20,
        scale=c.get("routed_scaling_factor", 2.446),
        groups=(c.get("n_group") if groups is None else groups) or 1,
        groups_kept=kept or 1,
        group_score="top2",
        correction=True,
        shared_F=F * (c.get("n_shared_experts", 1) if shared is None else shared),
    )


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=32, head_dim=1)
    L = facts["L"]
    # Rope's facts are written, and no layer has one; of a linear layer the heads have a width.
    c.require("mla_use_nope", (True,), True)
    c.inert("head_dim", "qk_head_dim", "rope_theta", "rope_scaling", "rope_parameters")
    c.inert("rope_interleave")
    linear = c.child("linear_attn_config")
    nope, shared = c.get("qk_nope_head_dim", 128), c.get("qk_rope_head_dim", 64)
    bias = c.get("attention_bias", False)
    mixers = _mixers(c, L, linear)
    delta = _delta(c, linear)
    if linear is not None:
        linear.check_all_read()
    mlps = exaone_moe.mlps(c, L, first=1)
    return Spec(
        **{**facts, "G": facts["H"], "C": nope + shared},
        context=c.first("model_max_length", "max_position_embeddings"),
        eps=c.get("rms_norm_eps", 1e-5),
        kinds=tuple(
            Kind(mixer=mixer, mlp=kind.mlp) for mixer, kind in zip(mixers, mlps, strict=True)
        ),
        latent=Latent(
            q_rank=c.get("q_lora_rank") or 0,
            kv_rank=c.get("kv_lora_rank", 512),
            nope=nope,
            rope=shared,
            v=c.get("v_head_dim", 128),
        ),
        delta=delta,
        experts=_experts(c),
        qkv_bias=bias,
        out_bias=bias,
    )


def _either(made: Callable[[str], dict[str, Row]]) -> dict[str, Row]:
    """Rows of an MLP, which files have under either of two names."""
    names = ("model.layers.{l}.mlp", "model.layers.{l}.block_sparse_moe")
    first, other = (made(name) for name in names)
    return {
        path: dataclasses.replace(row, other_names=(other[path].name,))
        for path, row in first.items()
    }


def _mlp(name: str) -> dict[str, Row]:
    parts = (("gate", UP), ("up", UP), ("down", DOWN))
    return {
        f"blocks/mlp/{path}{part}/kernel": Row(f"{name}.{own}{part}_proj.weight", layout)
        for path, own in (("", ""), ("shared/", "shared_experts."))
        for part, layout in parts
    } | {
        "blocks/mlp/router/kernel": Row(f"{name}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{name}.gate.e_score_correction_bias"),
    }


def delta_rows(name: str) -> dict[str, Row]:
    """The rows of Kimi delta attention whose tensors begin with this name."""
    down = "z d -> d z"
    found = {
        "blocks/attn/rate/kernel": Row(f"{name}.b_proj.weight", "h d -> d h"),
        "blocks/attn/decay_down/kernel": Row(f"{name}.f_a_proj.weight", down),
        "blocks/attn/decay_up/kernel": Row(f"{name}.f_b_proj.weight", "(h c) z -> z h c"),
        "blocks/attn/gate_down/kernel": Row(f"{name}.g_a_proj.weight", down),
        "blocks/attn/gate_up/kernel": Row(f"{name}.g_b_proj.weight", "(h c) z -> z h c"),
        "blocks/attn/step_bias": Row(f"{name}.dt_bias", "(h c) -> h c"),
        "blocks/attn/log_rate": Row(f"{name}.A_log", "1 1 h 1 -> h"),
        "blocks/attn/norm/scale": Row(f"{name}.o_norm.weight"),
        "blocks/attn/out/kernel": Row(f"{name}.o_proj.weight", OUT),
    }
    for part, letter in (("query", "q"), ("key", "k"), ("value", "v")):
        found[f"blocks/attn/{part}/kernel"] = Row(f"{name}.{letter}_proj.weight", QUERY)
        found[f"blocks/attn/conv_{letter}"] = Row(
            f"{name}.{letter}_conv1d.weight", "(h c) 1 w -> h c w"
        )
    return found


def convolutions(name: str, joined: str, d: Delta) -> dict[str, Row]:
    """The rows of the three convolutions, which transformers 5.24 has in one tensor for some types.

    Args:
      name: the beginning of the names of three tensors.
      joined: the beginning of the name of the one.
      d: the sizes.
    """
    size, found = d.H * d.K, {}
    for i, letter in enumerate("qkv"):
        layout, cut = "(h c) 1 w -> h c w", (i * size, (i + 1) * size, 3 * size)
        found[f"blocks/attn/conv_{letter}"] = Row(
            f"{name}.{letter}_conv1d.weight",
            layout,
            otherwise=Row(f"{joined}.conv1d.weight", layout, cut=cut),
        )
    return found


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **deepseek_v2.rows(spec),
        **delta_rows(f"{layer}.self_attn"),
        **_either(_mlp),
        **each_expert(
            f"{layer}.block_sparse_moe.experts",
            fused=f"{layer}.mlp.experts",
            gate="w1",
            up="w3",
            down="w2",
        ),
    }


FAMILIES = {"kimi_linear": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
