"""Arcee's Trinity: gated attention, with a rope only in layers with a window; sigmoid experts."""

from __future__ import annotations

from jaxmap.architectures import gemma2, llama, qwen3
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, ROUTER, Row, each_expert, norm, shared_expert
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Arcee AI 2026, arXiv:2602.17004"


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, head_dim=128, eps=1e-5)
    L, D = sizes["L"], sizes["D"]
    bias = c.get("attention_bias", False)  # the gate has none
    period = c.get("global_attn_every_n_layers", 4) or 4
    near = sliding_layers(c, L, lambda i: (i + 1) % period != 0)
    window = c.get("sliding_window", 1024)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    dense = c.get("num_dense_layers", 1)
    F = c.get("moe_intermediate_size", 1408)
    # The experts are chosen among all, whatever the keys of groups say, as in transformers.
    c.require("score_func", ("sigmoid",), "sigmoid")
    c.require("route_norm", (True,), True)
    c.inert("n_group", "topk_group", "num_expert_groups", "num_limited_groups", "use_grouped_mm")
    c.inert("load_balance_coeff", "output_router_logits")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 6),
        F=F,
        score="sigmoid",
        renorm=True,
        added=1e-20,
        scale=c.get("route_scale", 1.0),
        correction=True,
        shared_F=F * c.get("num_shared_experts", 2),
    )
    return Spec(
        **sizes,
        kinds=tuple(Kind(mlp="dense" if i < dense else "experts") for i in range(L)),
        experts=experts,
        norms=gemma2.SANDWICH,
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(),
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        rope_of=tuple(0 if is_near else -1 for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
        embed_scale=D**0.5 if c.get("mup_enabled", False) else 1.0,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    mlp = f"{layer}.mlp"
    return {
        **qwen3.rows(spec),
        "blocks/attn/gate/kernel": Row(f"{layer}.self_attn.gate_proj.weight", QUERY),
        **norm("blocks/attn_out", f"{layer}.post_attention_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.pre_mlp_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_mlp_layernorm"),
        "blocks/mlp/router/kernel": Row(f"{mlp}.router.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{mlp}.expert_bias"),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_experts"),
    }


FAMILIES = {"afmoe": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
