"""GLM-4: Llama with rope on adjacent channels of half of each head, gate and up fused."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, cut_gate_up
from jaxmap.model.spec import Spec

PAPER = "Team GLM 2024, arXiv:2406.12793"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def sizes(c: Config) -> dict:
    """The facts that GLM-4 and GLM-4-0414 share."""
    rope_facts = dict(partial_key="partial_rotary_factor", partial=0.5, pairs="adjacent")
    return dict(
        **llama.sizes(c, kv_heads=2, head_dim=128, eps=1.5625e-7, rope_facts=rope_facts),
        qkv_bias=c.get("attention_bias", True),
    )


def spec(c: Config) -> Spec:
    return Spec(**sizes(c))


def rows(spec: Spec) -> dict[str, Row]:
    return {**llama.rows(spec), **cut_gate_up("model.layers.{l}.mlp.gate_up_proj", spec)}


FAMILIES = {"glm": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
