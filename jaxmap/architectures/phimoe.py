"""Phi-3.5-MoE: Llama with layer norms and biases, experts chosen by SparseMixer, LongRoPE.

Texts beyond original_max_position_embeddings use the long factors, as in the paper and in the
model's own code; transformers 5.23 uses the short factors for them too.
"""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Abdin et al. 2024, arXiv:2404.14219; Liu et al. 2024, arXiv:2409.12136"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=8, eps=1e-5, rope_facts=dict(theta=1e6))
    bias = c.get("attention_bias", False)
    c.require("num_experts_per_tok", (2,), 2)  # SparseMixer is defined for two
    c.inert("hidden_dropout", "input_jitter_noise", "output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=2,
        F=sizes["F"],
        score="sparsemixer",
        jitter=c.get("router_jitter_noise", 0.01),
    )
    window = c.get("sliding_window") or 0
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * sizes["L"],
        experts=experts,
        norm="layer",
        norm_bias=True,
        qkv_bias=bias,
        out_bias=bias,
        window=(window,) * sizes["L"],
        head_bias=c.get("lm_head_bias", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    old, new = "model.layers.{l}.block_sparse_moe", "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        "head_bias": Row("lm_head.bias"),
        "blocks/mlp/router/kernel": Row(
            f"{old}.gate.weight", ROUTER, other_names=(f"{new}.router.weight",)
        ),
        **each_expert(f"{old}.experts", fused=f"{new}.experts", gate="w1", up="w3", down="w2"),
    }


FAMILIES = {"phimoe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
