"""Granite 3 MoE: Granite with experts, stored together."""

from __future__ import annotations

from jaxmap.architectures import granite, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = granite.PAPER
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    facts = granite.multiplied(c)
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=c.get("num_experts_per_tok", 2),
        F=facts["F"],
        renorm=True,
    )
    return Spec(
        **facts,
        kinds=(Kind(mlp="experts"),) * facts["L"],
        experts=experts,
        scale=(c.get("attention_multiplier", 1.0),) * facts["L"],
        logit_scale=1 / c.get("logits_scaling", 1.0),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.block_sparse_moe"
    up, up_too = f"{mlp}.input_linear.weight", (f"{mlp}.experts.gate_up_proj",)
    down, down_too = f"{mlp}.output_linear.weight", (f"{mlp}.experts.down_proj",)
    router, router_too = f"{mlp}.router.layer.weight", (f"{mlp}.router.weight",)
    both = "e (p f) d -> p e d f"
    return {
        **llama.rows(spec),
        "blocks/mlp/router/kernel": Row(router, ROUTER, other_names=router_too),
        "blocks/mlp/expert_gate/kernel": Row(up, both, (0, 2), other_names=up_too),
        "blocks/mlp/expert_up/kernel": Row(up, both, (1, 2), other_names=up_too),
        "blocks/mlp/expert_down/kernel": Row(down, "e d f -> e f d", other_names=down_too),
    }


FAMILIES = {"granitemoe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
