"""ERNIE 4.5 with experts: attention as in the dense models, experts chosen by corrected softmax."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, shared_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "ERNIE Team, Baidu 2025, ERNIE 4.5 Technical Report"
PREFIX = llama.PREFIX
INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.mtp_")


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=500_000.0, pairs="adjacent")
    sizes = llama.sizes(c, kv_heads=4, eps=1e-5, tied=True, rope_facts=rope_facts)
    L = sizes["L"]
    bias = c.get("use_bias", False)
    first, last = c.get("moe_layer_start_index", 1), c.get("moe_layer_end_index", -1)
    step, last = c.get("moe_layer_interval", 1), L - 1 if last == -1 else last
    c.require("moe_gate", ("topk",), "topk")
    c.inert("moe_capacity", "moe_use_aux_free", "output_router_logits", "router_aux_loss_coef")
    F = c["moe_intermediate_size"]
    experts = Experts(
        E=c.first("moe_num_experts", "num_experts"),
        k=c.first("moe_k", "num_experts_per_tok"),
        F=F,
        renorm=True,
        least=c.get("moe_norm_min", 1e-12),
        correction=True,
        shared_F=F * (c.get("moe_num_shared_experts", 2) or 0),
    )
    return Spec(
        **sizes,
        kinds=tuple(
            Kind(mlp="experts" if first <= i <= last and (i + 1) % step == 0 else "dense")
            for i in range(L)
        ),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        head_bias=bias,
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    correction = "moe_statics.e_score_correction_bias"
    return {
        **llama.rows(spec),
        "head_bias": Row("lm_head.bias"),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(
            f"{mlp}.{correction}", "p e -> p e", (0, 1), other_names=(f"{mlp}.gate.{correction}",)
        ),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_experts"),
    }


FAMILIES = {"ernie4_5_moe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
