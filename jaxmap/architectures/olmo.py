"""OLMo 1: Llama with layer norms without parameters, and clipped queries, keys and values."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Groeneveld et al. 2024, arXiv:2402.00838"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    bias = c.get("attention_bias", False)
    return Spec(
        **{**llama.sizes(c), "eps": 1e-5},  # fixed in transformers
        norm="layer",
        norm_scale=False,
        qkv_bias=bias,
        out_bias=bias,
        clip_qkv=c.get("clip_qkv") or 0.0,
    )


FAMILIES = {"olmo": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
