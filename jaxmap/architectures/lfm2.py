"""LFM2: gated short convolutions, attention in some layers; experts in the larger models."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, ROUTER, UP, Row, each_expert, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import ShortConv
from jaxmap.model.spec import Spec

PAPER = "Liquid AI 2025, arXiv:2511.23404"
_MIXERS = {"conv": "short_conv", "full_attention": "attention"}


def _mixers(c: Config, L: int) -> list[str]:
    """Each layer's mixer: what layer_types says, else attention in full_attn_idxs."""
    kinds, attention = c.get("layer_types"), c.get("full_attn_idxs")
    if kinds is None:
        attention = range(L) if attention is None else attention
        kinds = ["full_attention" if i in attention else "conv" for i in range(L)]
    if len(kinds) != L or set(kinds) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    return [_MIXERS[kind] for kind in kinds]


def _facts(c: Config, F: int) -> dict[str, Any]:
    H, D, L = c["num_attention_heads"], c["hidden_size"], c["num_hidden_layers"]
    C = c.get("head_dim") or head_width(c, D, H)
    eps = c.get("norm_eps", 1e-5)
    # Names and numbers of the repositories' own code, which say the same again.
    c.inert("block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale")
    c.inert("block_use_swiglu", "block_use_xavier_init", "conv_dim", "conv_dim_out")
    c.inert("conv_use_xavier_init", "num_heads", "use_pos_enc", "theta")
    return dict(
        L=L,
        D=D,
        H=H,
        G=c.get("num_key_value_heads", 8) or H,
        C=C,
        F=F,
        V=c["vocab_size"],
        context=rope.context_of(c),
        eps=eps,
        ropes=(rope.from_config(c, head_dim=C, theta=1e6),),
        tied=c.get("tie_embedding", c.get("tie_word_embeddings", True)),
        qk_norm=QkNorm("head", "rms", eps),
        kinds=tuple(Kind(mixer=mixer) for mixer in _mixers(c, L)),
        short_conv=ShortConv(c.get("conv_L_cache", 3), bias=c.get("conv_bias", False)),
    )


def dense(c: Config) -> Spec:
    """The spec of a model without experts; raises InputError for unsupported settings."""
    F = c.get("block_ff_dim") or c.get("intermediate_size", 12_288)
    c.inert("intermediate_size")
    factor, multiple = c.get("block_ffn_dim_multiplier", 1.0), c.get("block_multiple_of", 256)
    if c.get("block_auto_adjust_ff_dim", True):
        F = int(2 * F / 3)
        if factor is not None:
            F = multiple * -(-int(factor * F) // multiple)
    return Spec(**_facts(c, F))


def moe(c: Config) -> Spec:
    """The spec of a model with experts; raises InputError for unsupported settings."""
    facts = _facts(c, c["intermediate_size"])
    first = c.get("num_dense_layers", 2)
    c.inert("output_router_logits")
    facts["kinds"] = tuple(
        dataclasses.replace(kind, mlp="dense" if i < first else "experts")
        for i, kind in enumerate(facts["kinds"])
    )
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 4),
        F=c["moe_intermediate_size"],
        score="sigmoid",
        renorm=c.get("norm_topk_prob", True),
        added=1e-6,
        scale=c.get("routed_scaling_factor", 1.0),
        correction=c.get("use_expert_bias", True),
    )
    return Spec(**facts, experts=experts)


def _conv(spec: Spec) -> dict[str, Row]:
    name = "model.layers.{l}.conv"
    found = {
        **linear("blocks/attn/out", f"{name}.out_proj", "d i -> i d"),
        "blocks/attn/conv": Row(f"{name}.conv.weight", "i 1 w -> i w"),
        "blocks/attn/conv_bias": Row(f"{name}.conv.bias"),
    }
    for i, part in enumerate(("write", "read", "value")):
        kernel = Row(f"{name}.in_proj.weight", "(p i) d -> p d i", (i, 3))
        found[f"blocks/attn/{part}/kernel"] = kernel
        found[f"blocks/attn/{part}/bias"] = Row(f"{name}.in_proj.bias", "(p i) -> p i", (i, 3))
    return found


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    attn, mlp = f"{layer}.self_attn", f"{layer}.feed_forward"
    return {
        **llama.rows(spec),
        **_conv(spec),
        **norm("final_norm", "model.embedding_norm"),
        **norm("blocks/attn_in", f"{layer}.operator_norm"),
        **norm("blocks/mlp_in", f"{layer}.ffn_norm"),
        **norm("blocks/attn/q_norm", f"{attn}.q_layernorm"),
        **norm("blocks/attn/k_norm", f"{attn}.k_layernorm"),
        **linear("blocks/attn/o", f"{attn}.out_proj", OUT),
        **linear("blocks/mlp/gate", f"{mlp}.w1", UP),
        **linear("blocks/mlp/up", f"{mlp}.w3", UP),
        **linear("blocks/mlp/down", f"{mlp}.w2", DOWN),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{mlp}.expert_bias"),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts", gate="w1", up="w3", down="w2"),
    }


FAMILIES = {
    "lfm2": Family(PAPER, dense, rows, llama.PREFIX, llama.INERT_TENSORS),
    "lfm2_moe": Family(PAPER, moe, rows, llama.PREFIX, llama.INERT_TENSORS),
}
