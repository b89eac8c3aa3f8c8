"""DeepSeek-V3 and R1: V2 with sigmoid scores and a correction that balances the experts' load.

The multi-token prediction layer after the last layer is not part of the scored model.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v2, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "DeepSeek-AI 2024, arXiv:2412.19437"
PREFIX = llama.PREFIX
INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.layers\.61\.")


def sigmoid_experts(
    c: Config, *, groups: int, groups_kept: int, scale: float, shared: int
) -> Experts:
    """The experts of DeepSeek-V3; the arguments are defaults for keys that may be absent."""
    c.require("topk_method", ("noaux_tc",), "noaux_tc")
    c.require("scoring_func", ("sigmoid",), "sigmoid")
    c.inert("aux_loss_alpha", "ep_size", "output_router_logits", "seq_aux")
    c.inert("num_nextn_predict_layers", "num_mtp_layers")
    F = c["moe_intermediate_size"]
    return Experts(
        E=c.first("n_routed_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=F,
        score="sigmoid",
        renorm=c.get("norm_topk_prob", True),
        least=1e-20,
        scale=c.get("routed_scaling_factor", scale),
        groups=c.get("n_group", groups) or 1,
        groups_kept=c.get("topk_group", groups_kept) or 1,
        group_score="top2",
        correction=True,
        shared_F=F * (c.get("n_shared_experts", shared) or 0),
    )


def spec(c: Config) -> Spec:
    facts = deepseek_v2.latent(c, interleaved=c.get("rope_interleave", True))
    return Spec(
        **facts,
        kinds=deepseek_v2.kinds(c, facts["L"], first=3),
        experts=sigmoid_experts(c, groups=8, groups_kept=4, scale=2.5, shared=1),
    )


def rows(spec: Spec) -> dict[str, Row]:
    return {
        **deepseek_v2.rows(spec),
        "blocks/mlp/correction": Row("model.layers.{l}.mlp.gate.e_score_correction_bias"),
    }


_DEEPSEEK = Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)

FAMILIES = {
    "deepseek_v3": _DEEPSEEK,  # Moonlight has this type too
    "kimi_k2": dataclasses.replace(_DEEPSEEK, paper="Kimi Team 2025, arXiv:2507.20534"),
}
