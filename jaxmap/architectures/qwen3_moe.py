"""Qwen3-MoE: Qwen3 with experts in every layer or every n-th layer."""

from __future__ import annotations

from jaxmap.architectures import llama, qwen2_moe, qwen3
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "Yang et al. 2025, arXiv:2505.09388"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=4)
    bias = c.get("attention_bias", False)
    use, window = c.get("use_sliding_window", False), c.get("sliding_window", 4096)
    # In transformers every layer has the window.
    c.inert("max_window_layers", "output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=c["moe_intermediate_size"],
        renorm=c.get("norm_topk_prob", False),
    )
    return Spec(
        **sizes,
        kinds=qwen2_moe.kinds(c, sizes["L"]),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        window=((window or 0) if use else 0,) * sizes["L"],
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **qwen3.rows(spec),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
    }


FAMILIES = {"qwen3_moe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
