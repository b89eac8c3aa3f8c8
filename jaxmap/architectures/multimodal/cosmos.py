"""Cosmos 3 Edge's reasoner, given text alone: Llama whose MLP has no gate and a squared ReLU."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row, linear
from jaxmap.model.spec import Spec

PAPER = "NVIDIA 2026, Cosmos 3"


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=1e8)
    bias = c.get("attention_bias", False)
    return Spec(
        **llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5, act="relu2", rope_facts=rope_facts),
        qkv_bias=bias,
        out_bias=bias,
        gated=False,
        mlp_bias=c.get("mlp_bias", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        **linear("blocks/mlp/up", f"{mlp}.fc1", UP),
        **linear("blocks/mlp/down", f"{mlp}.fc2", DOWN),
    }


FAMILY = Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)
