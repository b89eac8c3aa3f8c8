"""OLMoE: Llama with experts; queries and keys are normalised over all heads, then clipped."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Muennighoff et al. 2024, arXiv:2409.02060"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, eps=1e-5)
    bias = c.get("attention_bias", False)
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=sizes["F"],
        renorm=c.get("norm_topk_prob", False),
    )
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * sizes["L"],
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("all", "rms", sizes["eps"]),
        clip_qkv=c.get("clip_qkv") or 0.0,
        clip_normed=True,
    )


def rows(spec: Spec) -> dict[str, Row]:
    attn, mlp = "model.layers.{l}.self_attn", "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{attn}.q_norm"),
        **norm("blocks/attn/k_norm", f"{attn}.k_norm"),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
    }


FAMILIES = {"olmoe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
