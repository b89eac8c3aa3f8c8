"""K-EXAONE: EXAONE 4 with norms before its branches, and experts as DeepSeek-V3 has them."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import exaone4, glm4_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "LG AI Research 2026, arXiv:2601.01739"
# Layers that predict further tokens.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^mtp\.")


def mlps(c: Config, L: int, *, first: int) -> tuple[Kind, ...]:
    """Which layers have experts: mlp_layer_types, else all from first_k_dense_replace on."""
    types, dense = c.get("mlp_layer_types"), c.get("first_k_dense_replace", first)
    if types is None:
        types = ["dense" if i < dense else "sparse" for i in range(L)]
    if len(types) != L or set(types) - {"dense", "sparse"}:
        raise InputError(f"{c.where}: mlp_layer_types must be {L} of dense and sparse")
    return tuple(Kind(mlp="experts" if kind == "sparse" else "dense") for kind in types)


def spec(c: Config) -> Spec:
    made = exaone4.spec(c)
    c.require("scoring_func", ("sigmoid",), "sigmoid")
    c.require("topk_method", ("noaux_tc",), "noaux_tc")
    c.inert("output_router_logits", "router_aux_loss_coef", "num_nextn_predict_layers")
    c.inert("is_moe_layer", "mtp_loss_scaling_factor")
    F = c.get("moe_intermediate_size", 1024)
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=F,
        score="sigmoid",
        renorm=c.get("norm_topk_prob", True),
        least=1e-20,
        scale=c.get("routed_scaling_factor", 2.5),
        groups=c.get("n_group", 1) or 1,
        groups_kept=c.get("topk_group", 1) or 1,
        group_score="top2",
        correction=True,
        shared_F=F * c.get("num_shared_experts", 1),
    )
    return dataclasses.replace(
        made,
        norms=frozenset({"attn_in", "mlp_in"}),
        kinds=mlps(c, made.L, first=1),
        experts=experts,
    )


def rows(spec: Spec) -> dict[str, Row]:
    found = glm4_moe.rows(spec)
    gate = found["blocks/mlp/correction"]
    other = ("model.layers.{l}.mlp.e_score_correction_bias",)
    return {**found, "blocks/mlp/correction": dataclasses.replace(gate, other_names=other)}


FAMILIES = {"exaone_moe": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
