"""Qwen3: Qwen2 with query norms and without biases."""

from __future__ import annotations

from jaxmap.architectures import llama, qwen2
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Yang et al. 2025, arXiv:2505.09388"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=32, head_dim=128)
    bias = c.get("attention_bias", False)
    return Spec(
        **sizes,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        window=qwen2.windows(c, sizes["L"]),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}.self_attn"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.k_norm"),
    }


FAMILIES = {"qwen3": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
