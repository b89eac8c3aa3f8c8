"""GLM-4.7-Flash: latent attention and experts as DeepSeek-V3 has them."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v2, deepseek_v3, exaone_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "GLM-4.5 Team 2025, arXiv:2508.06471"
# The layer behind the last one predicts further tokens.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.layers\.47\.")


def spec(c: Config) -> Spec:
    c.assume("q_lora_rank", 768)
    c.assume("rms_norm_eps", 1e-5)
    c.assume("num_experts_per_tok", 4)
    facts = deepseek_v2.latent(c, interleaved=c.get("rope_interleave", True))
    kinds = exaone_moe.mlps(c, facts["L"], first=1)
    return Spec(
        **facts,
        kinds=tuple(dataclasses.replace(kind, mixer="latent") for kind in kinds),
        experts=deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=1.8, shared=1),
    )


FAMILIES = {
    "glm4_moe_lite": Family(PAPER, spec, deepseek_v3.rows, llama.PREFIX, INERT_TENSORS),
}
