"""Mistral: Llama with a sliding window in every layer."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Jiang et al. 2023, arXiv:2310.06825"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=8)
    window = c.get("sliding_window", 4096) or 0
    c.inert("layer_types")  # transformers does not read it for this type
    return Spec(**sizes, window=(window,) * sizes["L"])


FAMILIES = {"mistral": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
