"""ERNIE 4.5 VL with experts, given text alone: of two groups of experts the one for text.

Experts of the second group, of another width, stand in the files after those of the first.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import ernie4_5_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.rows import ROUTER, Row, each_expert
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "ERNIE Team, Baidu 2025, ERNIE 4.5 Technical Report"


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=500_000.0, pairs="adjacent")
    sizes = llama.sizes(c, kv_heads=4, eps=1e-5, tied=True, rope_facts=rope_facts)
    L, bias = sizes["L"], c.get("use_bias", False)
    kinds = c.get("mlp_layer_types") or ["dense"] + ["sparse"] * (L - 1)
    if len(kinds) != L or set(kinds) - {"dense", "sparse"}:
        raise InputError(f"{c.where}: mlp_layer_types {kinds} for {L} layers")
    F = c.peek("moe_intermediate_size") or [1536, 512]  # of the experts for text and for pictures
    F = F[0] if isinstance(F, list) else F
    c.inert("moe_intermediate_size", "output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.get("moe_num_experts", 64),
        k=c.get("moe_k", 6),
        F=F,
        renorm=True,
        least=c.get("moe_norm_min", 1e-12),
        correction=True,
        shared_F=F * (c.get("moe_num_shared_experts", 2) or 0),
    )
    return Spec(
        **sizes,
        kinds=tuple(Kind(mlp="experts" if kind == "sparse" else "dense") for kind in kinds),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    own = f"{mlp}.text_moe"  # in files with the names of transformers' modules
    bias = "moe_statics.e_score_correction_bias"
    return {
        **ernie4_5_moe.rows(spec),
        **each_expert(f"{mlp}.experts", fused=f"{own}.experts"),
        "blocks/mlp/router/kernel": Row(
            f"{mlp}.gate.weight", otherwise=Row(f"{own}.gate.weight", ROUTER)
        ),
        "blocks/mlp/correction": Row(
            f"{mlp}.{bias}",
            "p e -> p e",
            (0, 2),
            otherwise=Row(f"{own}.gate.{bias}", "p e -> p e", (0, 1)),
        ),
    }


def inert_by_size(spec: Spec) -> tuple[str, ...]:
    """The router and the experts for pictures."""
    assert spec.experts is not None
    E = spec.experts.E
    pictures = "|".join(map(str, range(E, 2 * E)))
    return (r"\.mlp\.vision_moe\.", r"\.mlp\.gate\.weight_1$", rf"\.mlp\.experts\.({pictures})\.")


FAMILY = dataclasses.replace(
    ernie4_5_moe.FAMILIES["ernie4_5_moe"], spec=spec, rows=rows, inert_by_size=inert_by_size
)
