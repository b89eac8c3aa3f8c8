"""DeepSeek-MoE, the first version: Llama with routed and shared experts after the first layers."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, shared_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Dai et al. 2024, arXiv:2401.06066"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c)
    bias = c.get("attention_bias", False)
    c.require("scoring_func", ("softmax",), "softmax")
    c.inert("aux_loss_alpha", "seq_aux", "output_router_logits")
    dense, step = c.get("first_k_dense_replace", 0), c.get("moe_layer_freq", 1)
    F, k = c["moe_intermediate_size"], c["num_experts_per_tok"]
    experts = Experts(
        E=c["n_routed_experts"],
        k=k,
        F=F,
        renorm=k > 1 and c.get("norm_topk_prob", False),
        shared_F=F * (c.get("n_shared_experts") or 0),
    )
    return Spec(
        **sizes,
        kinds=tuple(
            Kind(mlp="experts" if i >= dense and i % step == 0 else "dense")
            for i in range(sizes["L"])
        ),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_experts"),
    }


FAMILIES = {"deepseek": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
