"""Hunyuan 3: query norms, and DeepSeek-V3's experts in one group after the first layer."""

from __future__ import annotations

from jaxmap.architectures import exaone_moe, llama, qwen3
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, ROUTER, UP, Row, each_expert
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "Tencent Hunyuan 2026, Hy3-preview"
# The layer behind the last one predicts further tokens.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.layers\.80\.")


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=11_158_840.0)
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5, rope_facts=rope_facts)
    bias = c.get("attention_bias", False)
    c.require("qk_norm", (True,), True)
    c.require("moe_router_use_sigmoid", (True,), True)
    c.require("moe_router_enable_expert_bias", (True,), True)
    c.require("route_norm", (True,), True)
    # Whether the shared MLP is added in float32, and layers that predict further tokens.
    c.inert("enable_moe_fp32_combine", "enable_lm_head_fp32", "enable_attention_fp32_softmax")
    c.inert("num_nextn_predict_layers", "num_mtp_layers", "output_router_logits")
    F = c.first("moe_intermediate_size", "expert_hidden_dim")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=F,
        score="sigmoid",
        renorm=True,
        added=1e-20,
        scale=c.get("router_scaling_factor", 2.826),
        correction=True,
        shared_F=F * c.get("num_shared_experts", 1),
    )
    return Spec(
        **sizes,
        kinds=exaone_moe.mlps(c, sizes["L"], first=1),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    shared = {
        f"blocks/mlp/shared/{part}/{leaf}": Row(
            f"{mlp}.shared_mlp.{part}_proj.{name}",
            layout if leaf == "kernel" else "",
            other_names=(f"{mlp}.shared_experts.{part}_proj.{name}",),
        )
        for part, layout in (("gate", UP), ("up", UP), ("down", DOWN))
        for leaf, name in (("kernel", "weight"), ("bias", "bias"))
    }
    return {
        **qwen3.rows(spec),
        "blocks/mlp/router/kernel": Row(
            f"{mlp}.router.gate.weight", ROUTER, other_names=(f"{mlp}.gate.weight",)
        ),
        "blocks/mlp/correction": Row(
            f"{mlp}.expert_bias", other_names=(f"{mlp}.e_score_correction_bias",)
        ),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared,
    }


FAMILIES = {"hy_v3": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
