"""Qwen2-MoE: Qwen2 with experts and a gated shared expert in every layer or every n-th layer."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, shared_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Yang et al. 2024, arXiv:2407.10671"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def kinds(c: Config, L: int) -> tuple[Kind, ...]:
    """The kind of each layer: experts in every decoder_sparse_step-th but mlp_only_layers."""
    step, dense = c.get("decoder_sparse_step", 1), c.get("mlp_only_layers") or []
    return tuple(Kind(mlp="dense" if i in dense or (i + 1) % step else "experts") for i in range(L))


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=16)
    L = sizes["L"]
    use, window = c.get("use_sliding_window", False), c.get("sliding_window", 4096)
    until = c.get("max_window_layers", 28)
    near_L = sliding_layers(c, L, lambda i: i % 2 == 0 and i < until)
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c["num_experts"],
        k=c.get("num_experts_per_tok", 4),
        F=c["moe_intermediate_size"],
        renorm=c.get("norm_topk_prob", False),
        shared_F=c["shared_expert_intermediate_size"],
        shared_gate=True,
    )
    return Spec(
        **sizes,
        kinds=kinds(c, L),
        experts=experts,
        qkv_bias=c.get("qkv_bias", True),
        window=tuple((window or 0) if use and near else 0 for near in near_L),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_expert"),
        "blocks/mlp/shared_gate/kernel": Row(f"{mlp}.shared_expert_gate.weight", ROUTER),
    }


FAMILIES = {"qwen2_moe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
