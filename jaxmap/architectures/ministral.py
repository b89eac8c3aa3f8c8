"""Ministral: Mistral with full attention in some layers."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Mistral AI 2024, Ministral-8B"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=8)
    window = c.get("sliding_window", 4096) or 0
    near_L = sliding_layers(c, sizes["L"], lambda i: True)
    return Spec(**sizes, window=tuple(window if near else 0 for near in near_L))


FAMILIES = {"ministral": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
