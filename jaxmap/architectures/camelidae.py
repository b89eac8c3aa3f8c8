"""Camelidae: Llama with adapters after the MLP that are chosen by a router (PESC).

The models' own code always uses 10,000 as the base of the rope, whatever config.json says, so
another value is refused.
"""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, ROUTER, UP, Row, shared_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Wu et al. 2024, arXiv:2401.02731"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    c.require("rope_theta", (10_000, None), None)
    sizes = llama.sizes(c)
    c.inert("lora_alpha", "lora_r", "moe_dtype", "output_router_logits")
    c.require("attention_bias", (False,), False)
    experts = Experts(
        E=c.get("num_experts", 8),
        k=c.get("topk", 1),
        F=c.get("adapter_dim", 64),
        renorm=True,
        scale=c.get("moe_scaling", 0.25),
        gated=False,
        act="gelu",
        shared_F=sizes["F"],
        on_shared=True,
    )
    return Spec(**sizes, kinds=(Kind(mlp="experts"),) * sizes["L"], experts=experts)


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    adapter = f"{mlp}.moe_adapter.experts.expert_{{e}}"
    return {
        **llama.rows(spec),
        **shared_expert(mlp),
        "blocks/mlp/router/kernel": Row(f"{mlp}.moe_adapter.router.weight", ROUTER),
        "blocks/mlp/expert_up/kernel": Row(f"{adapter}.adapter_down.weight", UP),
        "blocks/mlp/expert_down/kernel": Row(f"{adapter}.adapter_up.weight", DOWN),
    }


FAMILIES = {"camelidae": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
