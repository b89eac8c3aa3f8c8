"""Qwen3-Next: gated delta rule, and gated attention in every fourth layer; experts in all."""

from __future__ import annotations

import math

from jaxmap.architectures import llama, qwen2_moe
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import OUT, QUERY, Row, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec

PAPER = "Qwen Team 2025, Qwen3-Next-80B-A3B; Yang et al. 2024, arXiv:2412.06464"
PREFIX = llama.PREFIX
# The multi-token prediction layers are not part of the scored model.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^mtp\.")

KEYS = "(g k) d -> d g k"
_MIXERS = {"linear_attention": "delta", "full_attention": "attention"}


def mixers(c: Config, L: int) -> tuple[str, ...]:
    """The mixer of each layer: from layer_types, else attention in every fourth layer."""
    every = c.get("full_attention_interval", 4)
    kinds = c.get("layer_types")
    if kinds is None:
        return tuple("delta" if (i + 1) % every else "attention" for i in range(L))
    if len(kinds) != L or set(kinds) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    return tuple(_MIXERS[kind] for kind in kinds)


def delta(c: Config, *, gate: str = "silu") -> Delta:
    """The facts of the gated delta rule in config.json, with transformers' defaults."""
    return Delta(
        H=c.get("linear_num_value_heads", 32),
        G=c.get("linear_num_key_heads", 16),
        K=c.get("linear_key_head_dim", 128),
        C=c.get("linear_value_head_dim", 128),
        taps=c.get("linear_conv_kernel_dim", 4),
        gate=gate,
    )


def spec(c: Config) -> Spec:
    rope_facts = dict(partial_key="partial_rotary_factor", partial=0.25)
    sizes = llama.sizes(c, kv_heads=2, head_dim=256, rope_facts=rope_facts)
    L = sizes["L"]
    bias = c.get("attention_bias", False)
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.get("num_experts", 512),
        k=c.get("num_experts_per_tok", 10),
        F=c.get("moe_intermediate_size", 512),
        renorm=c.get("norm_topk_prob", True),
        shared_F=c.get("shared_expert_intermediate_size", 512),
        shared_gate=True,
    )
    return Spec(
        **sizes,
        kinds=tuple(
            Kind(mixer=mixer, mlp=kind.mlp)
            for mixer, kind in zip(mixers(c, L), qwen2_moe.kinds(c, L), strict=True)
        ),
        experts=experts,
        delta=delta(c),
        norm_offset=1.0,
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(bias="channel" if bias else ""),
        qk_norm=QkNorm("head", "rms", sizes["eps"], offset=1.0),
    )


def gated_attention(name: str) -> dict[str, Row]:
    """The rows of gated attention: q_proj has each head's query, then its gate; query norms."""
    made = norm("blocks/attn/q_norm", f"{name}.q_norm") | norm(
        "blocks/attn/k_norm", f"{name}.k_norm"
    )
    for i, part in enumerate(("q", "gate")):
        weight = Row(f"{name}.q_proj.weight", "(h p c) d -> p d h c", (i, 2))
        made[f"blocks/attn/{part}/kernel"] = weight
        made[f"blocks/attn/{part}/bias"] = Row(f"{name}.q_proj.bias", "(h p c) -> p h c", (i, 2))
    return made


def convolutions(d: Delta, name: str) -> dict[str, Row]:
    """The rows of the convolutions of queries, keys and values, which are in one tensor."""
    keys, total = d.G * d.K, 2 * d.G * d.K + d.H * d.C
    cuts = {"q": (0, keys), "k": (keys, 2 * keys), "v": (2 * keys, total)}
    return {
        f"blocks/attn/conv_{part}": Row(
            f"{name}.conv1d.weight", "(h c) 1 w -> h c w", cut=(start, stop, total)
        )
        for part, (start, stop) in cuts.items()
    }


def _grouped(name: str, d: Delta) -> dict[str, Row]:
    """The rows of the projections, which are grouped by key head.

    One tensor has each key head's query, key, values and gates, another one the rates and time
    steps of its values.
    """
    size = math.gcd(d.K, d.C)  # channels per block
    shared = d.H // d.G
    k, v = d.K // size, shared * d.C // size  # blocks per query or key, per values or gates
    one = 2 * k + 2 * v
    places = {
        "query": (0, k),
        "key": (k, 2 * k),
        "value": (2 * k, 2 * k + v),
        "out_gate": (2 * k + v, one),
    }
    made = {}
    for part, (start, stop) in places.items():
        which = tuple(head * one + i for head in range(d.G) for i in range(start, stop))
        layout = KEYS if part in ("query", "key") else QUERY
        row = Row(f"{name}.in_proj_qkvz.weight", layout, blocks=(which, d.G * one))
        made[f"blocks/attn/{part}/kernel"] = row
    for i, part in enumerate(("rate", "step")):
        which = tuple(range(i, 2 * d.G, 2))
        row = Row(f"{name}.in_proj_ba.weight", "h d -> d h", blocks=(which, 2 * d.G))
        made[f"blocks/attn/{part}/kernel"] = row
    return made


def delta_rows(name: str, d: Delta) -> dict[str, Row]:
    """The rows of a gated delta mixer, except its input projections."""
    return {
        **convolutions(d, name),
        "blocks/attn/step_bias": Row(f"{name}.dt_bias"),
        "blocks/attn/log_rate": Row(f"{name}.A_log"),
        "blocks/attn/norm/scale": Row(f"{name}.norm.weight"),
        "blocks/attn/out/kernel": Row(f"{name}.out_proj.weight", OUT),
    }


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    layer = "model.layers.{l}"
    return {
        **qwen2_moe.rows(spec),
        **gated_attention(f"{layer}.self_attn"),
        **delta_rows(f"{layer}.linear_attn", spec.delta),
        **_grouped(f"{layer}.linear_attn", spec.delta),
    }


FAMILIES = {"qwen3_next": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
