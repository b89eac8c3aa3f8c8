"""Granite 3: Llama with three factors on embeddings, branches and scores, and a logit divisor."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Granite Team 2024, Granite 3.0 Language Models"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def multiplied(c: Config) -> dict:
    """Sizes, biases and factors, except the factors on scores and logits."""
    bias = c.get("attention_bias", False)
    return dict(
        **llama.sizes(c),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
        embed_scale=c.get("embedding_multiplier", 1.0),
        residual_scale=c.get("residual_multiplier", 1.0),
    )


def spec(c: Config) -> Spec:
    facts = multiplied(c)
    return Spec(
        **facts,
        scale=(c.get("attention_multiplier", 1.0),) * facts["L"],
        logit_scale=1 / c.get("logits_scaling", 1.0),
    )


FAMILIES = {"granite": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
