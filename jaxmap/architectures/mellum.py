"""Mellum 2: Qwen3-MoE with a rope per kind of layer."""

from __future__ import annotations

from jaxmap.architectures import exaone_moe, llama, qwen3_moe, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "JetBrains 2026, Mellum2-12B-A2.5B"
INERT_TENSORS = (*llama.INERT_TENSORS, r"^(model\.)?mtp\.")


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=4, head_dim=128)
    L, C = facts["L"], facts["C"]
    eps = c.get("rms_norm_eps", 1e-6)
    bias = c.get("attention_bias", False)
    near = sliding_layers(c, L, lambda i: False)
    window = c.get("sliding_window", 1024) or 0
    c.inert("mtp_layer_types", "mtp_mlp_layer_types", "num_mtp_layers", "num_nextn_predict_layers")
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=c.get("moe_intermediate_size", 896),
        renorm=c.get("norm_topk_prob", True),
    )
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        kinds=exaone_moe.mlps(c, L, first=0),
        experts=experts,
        eps=eps,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", eps),
        ropes=(
            rope.from_config(c, head_dim=C, theta=500_000.0, layer_type="full_attention"),
            rope.from_config(c, head_dim=C, layer_type="sliding_attention"),
        ),
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


FAMILIES = {"mellum": Family(PAPER, spec, qwen3_moe.rows, llama.PREFIX, INERT_TENSORS)}
