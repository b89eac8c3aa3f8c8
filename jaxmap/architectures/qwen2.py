"""Qwen2 and Qwen2.5: Llama with query, key and value biases, a window in chosen layers."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Yang et al. 2024, arXiv:2407.10671"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def windows(c: Config, L: int) -> tuple[int, ...]:
    """The window of each layer, 0 for none, from layer_types or else max_window_layers."""
    use, window = c.get("use_sliding_window", False), c.get("sliding_window", 4096)
    first = c.get("max_window_layers", 28)
    window = window if use and window is not None else 0
    return tuple(window if near else 0 for near in sliding_layers(c, L, lambda i: i >= first))


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=32)
    return Spec(**sizes, qkv_bias=True, window=windows(c, sizes["L"]))


FAMILIES = {"qwen2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
