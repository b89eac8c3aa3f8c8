"""dots.llm1: Qwen3's attention, DeepSeek-V3's experts after the first layers."""

from __future__ import annotations

from jaxmap.architectures import deepseek_v3, glm4_moe, llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Huo et al. 2025, arXiv:2506.05767"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = glm4_moe.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=32)
    L = sizes["L"]
    bias, dense = c.get("attention_bias", False), c.get("first_k_dense_replace", 0)
    window, whole = c.get("sliding_window", 4096) or 0, c.get("max_window_layers", 62)
    near_L = sliding_layers(c, L, lambda i: i >= whole)
    c.assume("norm_topk_prob", False)
    experts = deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=1.0, shared=0)
    return Spec(
        **sizes,
        kinds=tuple(Kind(mlp="dense" if i < dense else "experts") for i in range(L)),
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        window=tuple(window if near else 0 for near in near_L),
    )


FAMILIES = {"dots1": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
