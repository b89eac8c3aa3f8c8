"""gpt-oss: attention with sinks, a window in every other layer; experts with a clamped SwiGLU.

In OpenAI's own files the experts are in MXFP4 (`jaxmap.checkpoint.encodings.mxfp4`).
"""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import ClampedSwiglu, Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "OpenAI 2025, arXiv:2508.10925"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    if rope.described(c) is None:  # transformers' default is YaRN, not the absence of scaling
        raise InputError(f"{c.where}: rope_parameters or rope_scaling is missing")
    sizes = llama.sizes(c, kv_heads=8, head_dim=64, eps=1e-5, rope_facts=dict(theta=150_000.0))
    L = sizes["L"]
    bias = c.get("attention_bias", True)
    window = c.get("sliding_window", 128) or 0
    near_L = sliding_layers(c, L, lambda i: i % 2 == 0)
    c.inert("experts_per_token", "initial_context_length")  # other names of keys that are read
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=c.get("num_experts_per_tok", 4),
        F=sizes["F"],
        renorm=True,
        router_bias=True,
        bias=True,
        glu=ClampedSwiglu(c.get("swiglu_alpha", 1.702), c.get("swiglu_limit", 7.0)),
    )
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * L,
        experts=experts,
        qkv_bias=bias,
        out_bias=bias,
        sinks=True,
        window=tuple(window if near else 0 for near in near_L),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp, experts = "model.layers.{l}.mlp", "model.layers.{l}.mlp.experts"
    both, both_bias = "e d (f p) -> p e d f", "e (f p) -> p e f"
    return {
        **llama.rows(spec),
        "blocks/attn/sink": Row("model.layers.{l}.self_attn.sinks"),
        "blocks/mlp/router/kernel": Row(f"{mlp}.router.weight", ROUTER),
        "blocks/mlp/router/bias": Row(f"{mlp}.router.bias"),
        "blocks/mlp/expert_gate/kernel": Row(f"{experts}.gate_up_proj", both, (0, 2)),
        "blocks/mlp/expert_gate/bias": Row(f"{experts}.gate_up_proj_bias", both_bias, (0, 2)),
        "blocks/mlp/expert_up/kernel": Row(f"{experts}.gate_up_proj", both, (1, 2)),
        "blocks/mlp/expert_up/bias": Row(f"{experts}.gate_up_proj_bias", both_bias, (1, 2)),
        "blocks/mlp/expert_down/kernel": Row(f"{experts}.down_proj"),
        "blocks/mlp/expert_down/bias": Row(f"{experts}.down_proj_bias"),
    }


FAMILIES = {"gpt_oss": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
