"""Kolibri 1: EXAONE 4's attention between GLM-4's four norms; in every layer sigmoid experts."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import exaone4, gemma2, glm4_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Aleph Alpha 2026, Kolibri-1"


def spec(c: Config) -> Spec:
    F = c.get("moe_intermediate_size", 512)
    c.assume("intermediate_size", F)  # no layer is dense
    c.assume("num_key_value_heads", 4)
    c.assume("head_dim", 128)
    c.assume("rms_norm_eps", 1e-6)
    c.assume("sliding_window", 513)
    c.assume("sliding_window_pattern", 5)
    made = exaone4.spec(c)
    c.inert("output_router_logits")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 6),
        F=F,
        score="sigmoid_of_best",
        renorm=c.get("norm_topk_prob", False),
        correction=True,
        shared_F=c.get("shared_expert_intermediate_size", 512),
    )
    return dataclasses.replace(
        made,
        norms=gemma2.SANDWICH,
        kinds=(Kind(mlp="experts"),) * made.L,
        experts=experts,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    found = {
        **glm4_moe.rows(spec),
        **norm("blocks/attn_out", f"{layer}.post_self_attn_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_mlp_layernorm"),
    }
    # The names that Aleph Alpha's own files have.
    own = {
        "blocks/attn_out/scale": f"{layer}.post_attn_norm.weight",
        "blocks/mlp_out/scale": f"{layer}.post_ffn_norm.weight",
        "blocks/mlp/correction": f"{layer}.moe.router.expert_bias",
    }
    return {
        path: dataclasses.replace(row, other_names=(own[path],)) if path in own else row
        for path, row in found.items()
    }


FAMILIES = {"kolibri1": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
