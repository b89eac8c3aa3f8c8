"""Cohere's Command R and Aya: parallel blocks, layer norms without bias, scaled logits."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Cohere For AI 2024, c4ai-command-r-v01; Aryabumi et al. 2024, arXiv:2405.15032"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def sizes(c: Config, *, theta: float) -> dict:
    """The facts that Cohere's first and second generation share."""
    facts = llama.sizes(c, tied=True, rope_facts=dict(theta=theta, pairs="adjacent"))
    bias = c.get("attention_bias", False)
    return {
        **facts,
        "norms": frozenset({"attn_in"}),
        "parallel": True,
        "norm": "layer",
        "eps": c.get("layer_norm_eps", 1e-5),
        "qkv_bias": bias,
        "out_bias": bias,
        "logit_scale": c.get("logit_scale", 0.0625),
    }


def spec(c: Config) -> Spec:
    facts = sizes(c, theta=500_000.0)
    c.inert("model_max_length")
    qk_norm = QkNorm("heads", "layer", facts["eps"]) if c.get("use_qk_norm", False) else None
    return Spec(**facts, qk_norm=qk_norm)


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}.self_attn"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.k_norm"),
    }


FAMILIES = {"cohere": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
