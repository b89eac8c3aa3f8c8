"""DeepSeek-V3.2 and GLM-5: DeepSeek-V3 with an indexer that chooses the keys of each query.

In texts of at most `index_topk` tokens the indexer chooses all keys, so that the scores are those
of latent attention and the indexer's weights are not needed (`Spec.dense_up_to`). GLM-5 has an
indexer in some layers only; the others take the keys that the last one before them chose.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v2, deepseek_v3, exaone_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "DeepSeek-AI 2025, arXiv:2512.02556"
INDEXER = r"\.self_attn\.indexer\."


def indexed(c: Config) -> int:
    """The most tokens of a text of which the indexer chooses all keys."""
    c.inert("index_head_dim", "index_n_heads", "indexer_rope_interleave", "layer_types")
    return c.get("index_topk", 2048)


def latent_kinds(c: Config, L: int, *, first: int) -> tuple[Kind, ...]:
    """Latent attention everywhere, experts where mlp_layer_types or first_k_dense_replace says."""
    c.require("moe_layer_freq", (1,), 1)
    kinds = exaone_moe.mlps(c, L, first=first)
    return tuple(dataclasses.replace(kind, mixer="latent") for kind in kinds)


def spec(c: Config, groups: int = 8, groups_kept: int = 4) -> Spec:
    c["q_lora_rank"]  # the indexer reads the compressed queries
    c.require("rope_interleave", (True,), True)
    c.inert("mlp_bias")  # the reference has no such biases, whatever it says
    facts = deepseek_v2.latent(c, interleaved=True)
    return Spec(
        **facts,
        dense_up_to=indexed(c),
        kinds=latent_kinds(c, facts["L"], first=3),
        experts=deepseek_v3.sigmoid_experts(
            c, groups=groups, groups_kept=groups_kept, scale=2.5, shared=1
        ),
    )


def _glm(c: Config) -> Spec:
    c.assume("rms_norm_eps", 1e-5)
    c.assume("q_lora_rank", 2048)
    # Which layers have an indexer.
    c.inert("indexer_types", "index_topk_pattern", "index_topk_freq", "index_skip_topk_offset")
    return spec(c, groups=1, groups_kept=1)


def _family(paper: str, make, layers: int) -> Family:
    """`layers`: those of the released models; the next one predicts further tokens."""
    inert = (*llama.INERT_TENSORS, INDEXER, rf"^model\.layers\.{layers}\.")
    return Family(paper, make, deepseek_v3.rows, llama.PREFIX, inert)


FAMILIES = {
    "deepseek_v32": _family(PAPER, spec, 61),
    "glm_moe_dsa": _family("GLM-5 Team 2026, arXiv:2602.15763", _glm, 78),
}
