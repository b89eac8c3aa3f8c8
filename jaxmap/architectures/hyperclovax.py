"""HyperCLOVA X SEED: Granite with a logit factor and norms on the branches' outputs."""

from __future__ import annotations

from jaxmap.architectures import gemma2, granite, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.spec import Spec

PAPER = "Yoo et al. 2024, arXiv:2404.01954"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    facts = granite.multiplied(c)
    scale = c.get("attention_multiplier")
    return Spec(
        **facts,
        norms=gemma2.SANDWICH if c.get("use_post_norm", True) else Spec.norms,
        scale=() if scale is None else (scale,) * facts["L"],
        logit_scale=c.get("logits_scaling", 1.0),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **llama.rows(spec),
        **norm("blocks/attn_out", f"{layer}.post_norm1"),
        **norm("blocks/mlp_out", f"{layer}.post_norm2"),
    }


FAMILIES = {"hyperclovax": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
