"""MiniCPM: Llama with factors on embeddings, branches and logits (remote code)."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Hu et al. 2024, arXiv:2404.06395"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, tied=True)
    bias = c.get("attention_bias", False)
    c.require("num_experts", (None, 0), 0)
    return Spec(
        **sizes,
        qkv_bias=bias,
        out_bias=bias,
        embed_scale=c.get("scale_emb", 1),
        residual_scale=c.get("scale_depth", 1) / sizes["L"] ** 0.5,
        logit_scale=c.get("dim_model_base", 1) / sizes["D"],
    )


FAMILIES = {"minicpm": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
