"""Helium: Llama with rope on adjacent channels."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Kyutai 2025, Helium-1"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=100_000.0, pairs="adjacent")
    return Spec(
        **llama.sizes(c, kv_heads=20, head_dim=128, eps=1e-8, rope_facts=rope_facts),
        qkv_bias=c.get("attention_bias", False),
        mlp_bias=c.get("mlp_bias", False),
    )


FAMILIES = {"helium": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
