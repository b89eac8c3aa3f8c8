"""DeepSeek-OCR 2 and Unlimited-OCR, given text alone: DeepSeek-MoE's attention and experts.

In Unlimited-OCR a window ends what generated tokens see; all of a text is seen, as a prompt is.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from jaxmap.architectures import deepseek, llama
from jaxmap.architectures.config import Config
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "DeepSeek-AI 2026, arXiv:2601.20552"


def _spec(F: int, c: Config) -> Spec:
    """Of both; `F` is the width of an expert where config.json does not say."""
    sizes, bias = llama.sizes(c), c.get("attention_bias", False)
    L, dense = sizes["L"], c.get("first_k_dense_replace", 1)
    kinds = c.get("mlp_layer_types") or ["dense" if i < dense else "sparse" for i in range(L)]
    if len(kinds) != L or set(kinds) - {"dense", "sparse"}:
        raise InputError(f"{c.where}: mlp_layer_types {kinds} for {L} layers")
    c.require("topk_method", ("greedy", "group_limited_greedy"), "greedy")
    grouped = c.get("topk_method", "greedy") == "group_limited_greedy"
    groups, kept = c.get("n_group"), c.get("topk_group")
    c.assume("num_experts_per_tok", 6)
    c.inert("layer_types", "sliding_window", "output_router_logits")
    F = c.get("moe_intermediate_size", F)
    experts = Experts(
        E=c.get("n_routed_experts", 64),
        k=c["num_experts_per_tok"],
        F=F,
        scale=c.get("routed_scaling_factor", 1.0),
        groups=groups if grouped else 1,
        groups_kept=kept if grouped else 1,
        shared_F=F * c.get("n_shared_experts", 2),
    )
    return Spec(
        **sizes,
        kinds=tuple(Kind(mlp="experts" if kind == "sparse" else "dense") for kind in kinds),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
    )


_FAMILY = deepseek.FAMILIES["deepseek"]
FAMILIES = {
    kind: dataclasses.replace(_FAMILY, paper=PAPER, spec=partial(_spec, F))
    for kind, F in (("deepseek_ocr2_text", 1407), ("unlimited_ocr_text", 896))
}
