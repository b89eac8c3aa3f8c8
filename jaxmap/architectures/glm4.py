"""GLM-4-0414: GLM-4 with norms before and after each branch."""

from __future__ import annotations

from jaxmap.architectures import gemma2, glm, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.spec import Spec

PAPER = "Team GLM 2024, arXiv:2406.12793"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    return Spec(**glm.sizes(c), norms=gemma2.SANDWICH)


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **glm.rows(spec),
        **norm("blocks/attn_out", f"{layer}.post_self_attn_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_mlp_layernorm"),
    }


FAMILIES = {"glm4": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
