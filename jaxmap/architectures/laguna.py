"""Poolside's Laguna: gated attention, whose heads and ropes differ by layer; sigmoid experts."""

from __future__ import annotations

from jaxmap.architectures import exaone_moe, llama, qwen3, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, output_gate, renamed, shared_expert
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Poolside 2026, Laguna"
_ROPES = {
    "full_attention": dict(rope_theta=500_000.0, partial_rotary_factor=0.5),
    "sliding_attention": dict(rope_theta=10_000.0, partial_rotary_factor=1.0),
}


def _heads(c: Config, L: int, default: int) -> list[int]:
    """The number of query heads of each layer."""
    heads = c.get("num_attention_heads_per_layer")
    if heads is None:
        return [default] * L
    if len(heads) != L or not all(isinstance(H, int) and H > 0 for H in heads):
        raise InputError(f"{c.where}: num_attention_heads_per_layer must be {L} numbers of heads")
    return heads


def _experts(c: Config) -> Experts:
    # transformers raises an error where the weights are to scale what the experts read.
    c.require("moe_apply_router_weight_on_input", (False,), False)
    c.inert("output_router_logits", "router_aux_loss_coef")
    return Experts(
        E=c.get("num_experts", 256),
        k=c.get("num_experts_per_tok", 8),
        F=c.get("moe_intermediate_size", 512),
        score="sigmoid",
        renorm=True,
        scale=c.get("moe_routed_scaling_factor", 1.0),
        softcap=c.get("moe_router_logit_softcapping", 0.0) or 0.0,
        correction=True,
        shared_F=c.get("shared_expert_intermediate_size", 512),
    )


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=8, head_dim=128)
    L, C = facts["L"], facts["C"]
    c.assume("rope_parameters", _ROPES)
    near = sliding_layers(c, L, lambda i: False)
    window = c.get("sliding_window", 512)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    heads = _heads(c, L, facts["H"])
    H = max(heads)
    partial = dict(head_dim=C, partial_key="partial_rotary_factor")
    ropes = tuple(
        rope.from_config(c, layer_type=kind, **partial)
        for kind in ("full_attention", "sliding_attention")
    )
    kinds = tuple(
        Kind(mlp=kind.mlp, H=own if own != H else 0, turned=ropes[is_near].dims)
        for kind, own, is_near in zip(exaone_moe.mlps(c, L, first=1), heads, near, strict=True)
    )
    used = sorted(set(near))  # a rope of no layer is left out
    bias = c.get("attention_bias", False)
    per_head = c.get("gating", True) in (True, "per-head")
    eps = c.get("rms_norm_eps", 1e-6)
    return Spec(
        **{**facts, "H": H},
        context=c["max_position_embeddings"],
        eps=eps,
        kinds=kinds,
        experts=_experts(c),
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(per="head" if per_head else "channel", act="softplus"),
        qk_norm=QkNorm("head", "rms", eps),
        ropes=tuple(ropes[is_near] for is_near in used),
        rope_of=tuple(used.index(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    mlp = f"{layer}.mlp"
    correction = "e_score_correction_bias"
    return {
        **qwen3.rows(spec),
        **output_gate("blocks/attn/gate", f"{layer}.self_attn.g_proj", spec.out_gate),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(
            f"{mlp}.experts.{correction}", other_names=(f"{mlp}.gate.{correction}",)
        ),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **renamed(shared_expert(f"{mlp}.shared_expert"), "shared_expert.", "shared_experts."),
    }


FAMILIES = {"laguna": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
