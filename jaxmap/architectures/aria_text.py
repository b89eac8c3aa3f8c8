"""Aria's language model: a Llama with experts in every layer beside a shared MLP."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, shared_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Li et al. 2024, arXiv:2410.05993"


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c)
    bias = c.get("attention_bias", False)
    experts = Experts(
        E=c.get("moe_num_experts", 8),
        k=c.get("moe_topk", 2),
        F=sizes["F"],
        renorm=True,
        act="silu",  # whatever hidden_act says, which is of the shared MLP
        shared_F=sizes["F"] * c.get("moe_num_shared_experts", 2),
    )
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * sizes["L"],
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    both = (f"{mlp}.experts.gate_up_proj",)
    down = (f"{mlp}.experts.down_proj",)
    shared = shared_expert(f"{mlp}.shared_experts")
    return {
        **llama.rows(spec),
        "blocks/mlp/router/kernel": Row(f"{mlp}.router.weight", ROUTER),
        **{
            f"blocks/mlp/expert_{part}/kernel": Row(
                f"{mlp}.experts.fc1.weight", "e d (p f) -> p e d f", (i, 2), other_names=both
            )
            for i, part in enumerate(("gate", "up"))
        },
        "blocks/mlp/expert_down/kernel": Row(f"{mlp}.experts.fc2.weight", other_names=down),
        **shared,
    }


FAMILIES = {"aria_text": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
