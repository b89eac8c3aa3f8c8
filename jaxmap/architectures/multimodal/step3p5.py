"""Step 3.7's language model: gated attention whose heads and ropes differ by layer, and experts.

Its activations have bounds that differ by layer, for experts and for other MLPs.
"""

from __future__ import annotations

from jaxmap.architectures import exaone_moe, llama, qwen3, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import (
    ROUTER,
    Row,
    each_expert,
    output_gate,
    renamed,
    shared_expert,
)
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.expert_facts import ClampedSwiglu, Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "StepFun 2026, Step 3.7"
_TYPES = ("full_attention", "sliding_attention")


def _bounds(c: Config, key: str, L: int) -> list[ClampedSwiglu | None]:
    """Per layer the bounded activation, None where the bound is null or 0; more layers are cut."""
    limits = c.get(key) or [None] * L
    if len(limits) < L:
        raise InputError(f"{c.where}: {key} has {len(limits)} entries for {L} layers")
    made = [ClampedSwiglu(1.0, limit, 0.0, after=True) if limit else None for limit in limits]
    return made[:L]


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=8, head_dim=128)
    L, C, H = facts["L"], facts["C"], facts["H"]
    near = sliding_layers(c, L, lambda i: False)
    window = c.get("sliding_window") or 0
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: layers need one")
    c.require("use_bidirectional_attention", (False,), False)
    c.require("mlp_bias", (False,), False)
    c.inert("per_layer_config", "output_router_logits", "num_nextn_predict_layers")
    c.inert("mtp_layer_types", "mtp_mlp_layer_types")
    heads_of_near = c.get("num_sliding_attention_heads") or H
    own = [heads_of_near if is_near else H for is_near in near]
    most = max(own)
    split = c.peek("rope_parameters") is not None
    used = sorted(set(near))  # a rope of no layer is left out
    partial = dict(head_dim=C, partial_key="partial_rotary_factor")
    ropes = tuple(
        rope.from_config(c, layer_type=_TYPES[is_near] if split else None, **partial)
        for is_near in used
    )
    kinds = tuple(
        Kind(
            mlp=kind.mlp,
            H=heads if heads != most else 0,
            turned=ropes[used.index(is_near)].dims,
            glu=glu,
            expert_glu=expert_glu if kind.mlp == "experts" else None,
        )
        for kind, heads, is_near, glu, expert_glu in zip(
            exaone_moe.mlps(c, L, first=3),
            own,
            near,
            _bounds(c, "swiglu_limits_shared", L),
            _bounds(c, "swiglu_limits", L),
            strict=True,
        )
    )
    experts = Experts(
        E=c.get("n_routed_experts", 288),
        k=c.get("num_experts_per_tok", 8),
        F=c.get("moe_intermediate_size", 1280),
        score="sigmoid",
        renorm=True,
        scale=c.get("moe_router_scaling_factor", 1.0),
        correction=True,
        shared_F=c.get("share_expert_dim", 1280),
    )
    c.inert("num_local_experts")  # of the class, which reads n_routed_experts
    bias, eps = c.get("attention_bias", False), c.get("rms_norm_eps", 1e-5)
    per_head = c.get("gating", True) in (True, "per-head")
    return Spec(
        **{**facts, "H": most},
        context=c["max_position_embeddings"],
        eps=eps,
        norm_offset=1.0,
        kinds=kinds,
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(per="head" if per_head else "channel"),
        qk_norm=QkNorm("head", "rms", eps, offset=1.0),
        scale=((c.get("query_pre_attn_scalar") or C) ** -0.5,) * L,
        ropes=ropes,
        rope_of=tuple(used.index(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    mlp, moe = f"{layer}.mlp", f"{layer}.moe"
    made = {
        **qwen3.rows(spec),
        **output_gate("blocks/attn/gate", f"{layer}.self_attn.g_proj", spec.out_gate),
        "blocks/mlp/router/kernel": Row(
            f"{moe}.gate.weight", ROUTER, other_names=(f"{mlp}.gate.weight",)
        ),
        "blocks/mlp/correction": Row(
            f"{moe}.router_bias", other_names=(f"{mlp}.gate.e_score_correction_bias",)
        ),
        **renamed(shared_expert(f"{layer}.share_expert"), "share_expert.", "mlp.shared_experts."),
    }
    # The experts of a layer stand in three tensors, in two where transformers keeps its names.
    for path, fused in each_expert("", fused=f"{mlp}.experts").items():
        part = path.split("/")[-2].removeprefix("expert_")
        layout = "e d f -> e f d" if part == "down" else "e f d -> e d f"
        made[path] = Row(f"{moe}.{part}_proj.weight", layout, otherwise=fused.otherwise)
    return made


FAMILY = Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)
