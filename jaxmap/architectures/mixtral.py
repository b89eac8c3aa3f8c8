"""Mixtral: Mistral with experts; the weights of the chosen experts sum to one."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Jiang et al. 2024, arXiv:2401.04088"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=8, eps=1e-5, rope_facts=dict(theta=1e6))
    c.inert("output_router_logits", "router_aux_loss_coef", "router_jitter_noise")
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=c.get("num_experts_per_tok", 2),
        F=sizes["F"],
        renorm=True,
    )
    window = c.get("sliding_window") or 0
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * sizes["L"],
        experts=experts,
        window=(window,) * sizes["L"],
    )


def rows(spec: Spec) -> dict[str, Row]:
    old, new = "model.layers.{l}.block_sparse_moe", "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        "blocks/mlp/router/kernel": Row(
            f"{old}.gate.weight", ROUTER, other_names=(f"{new}.gate.weight",)
        ),
        **each_expert(f"{old}.experts", fused=f"{new}.experts", gate="w1", up="w3", down="w2"),
    }


FAMILIES = {"mixtral": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
