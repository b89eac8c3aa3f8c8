"""GLM-4.5: partly rotated heads, and DeepSeek-V3's experts after the first layers."""

from __future__ import annotations

from jaxmap.architectures import deepseek_v3, llama, qwen3
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, shared_expert
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "GLM-4.5 Team 2025, arXiv:2508.06471"
PREFIX = llama.PREFIX
# The multi-token prediction layers of GLM-4.5-Air and GLM-4.5, which are not scored.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.layers\.(46|92)\.")


def spec(c: Config) -> Spec:
    rope_facts = dict(partial_key="partial_rotary_factor", partial=0.5)
    sizes = llama.sizes(c, kv_heads=8, eps=1e-5, rope_facts=rope_facts)
    dense = c.get("first_k_dense_replace", 1)
    norm = QkNorm("head", "rms", sizes["eps"]) if c.get("use_qk_norm", False) else None
    return Spec(
        **sizes,
        kinds=tuple(Kind(mlp="dense" if i < dense else "experts") for i in range(sizes["L"])),
        experts=deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=1.0, shared=1),
        qkv_bias=c.get("attention_bias", False),
        qk_norm=norm,
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **qwen3.rows(spec),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{mlp}.gate.e_score_correction_bias"),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_experts"),
    }


FAMILIES = {"glm4_moe": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
