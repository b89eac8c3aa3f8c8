"""Flint: Qwen3-MoE with sinks, a rope only in layers with a window, and sigmoid experts."""

from __future__ import annotations

from jaxmap.architectures import llama, qwen2_moe, qwen3
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, shared_expert
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "Recursive 2026, Flint"


def windows(c: Config, near: tuple[bool, ...], default: int) -> dict:
    """The facts of layers of which only those with a window have a rope."""
    window = c.get("sliding_window", default)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    return dict(
        window=tuple((window or 0) if is_near else 0 for is_near in near),
        rope_of=tuple(0 if is_near else -1 for is_near in near),
    )


def experts(c: Config, E: int, k: int, shared_F: int, score: str) -> Experts:
    """Experts and an MLP without a gate for every token; the arguments are defaults."""
    c.inert("output_router_logits", "router_aux_loss_coef")
    return Experts(
        E=c.get("num_experts", E),
        k=c.get("num_experts_per_tok", k),
        F=c.get("moe_intermediate_size", 512),
        score=score,
        renorm=c.get("norm_topk_prob", True),
        shared_F=c.get("shared_expert_intermediate_size", shared_F),
    )


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=4, head_dim=128)
    L = sizes["L"]
    near = sliding_layers(c, L, lambda i: i >= 2 and i % 4 != 1 and i != L - 1)
    bias = c.get("attention_bias", False)
    c.assume("mlp_only_layers", [0, 1])
    return Spec(
        **sizes,
        kinds=qwen2_moe.kinds(c, L),
        experts=experts(c, E=256, k=6, shared_F=1024, score="sigmoid"),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        sinks=True,
        **windows(c, near, 513),
    )


def expert_rows() -> dict[str, Row]:
    """The rows of the router, the experts and the MLP for every token."""
    mlp = "model.layers.{l}.mlp"
    return {
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_expert"),
    }


def rows(spec: Spec) -> dict[str, Row]:
    attn = "model.layers.{l}.self_attn"
    return {
        **qwen3.rows(spec),
        "blocks/attn/sink": Row(f"{attn}.softmax_offset", other_names=(f"{attn}.sinks",)),
        **expert_rows(),
    }


FAMILIES = {"flint": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
