"""Seed-OSS: Llama with biases on queries, keys and values."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "ByteDance Seed Team 2025, Seed-OSS-36B"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    c.inert("residual_dropout")
    return Spec(
        **llama.sizes(c, kv_heads=8, head_dim=128),
        qkv_bias=c.get("attention_bias", True),
        out_bias=c.get("attention_out_bias", False),
        mlp_bias=c.get("mlp_bias", False),
    )


FAMILIES = {"seed_oss": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
