"""Nemotron-4 and Minitron: layer norms by 1 + weight, squared ReLU, rope on half of each head."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Parmar et al. 2024, arXiv:2402.16819"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    rope_facts = dict(partial_key="partial_rotary_factor", partial=0.5)
    bias = c.get("attention_bias", False)
    sizes = llama.sizes(c, act="relu2", rope_facts=rope_facts)
    c.require("kv_channels", (sizes["C"],), sizes["C"])  # an earlier name of head_dim
    return Spec(
        **{**sizes, "eps": c.get("norm_eps", 1e-5)},
        norm="layer",
        norm_bias=True,
        norm_offset=1.0,
        qkv_bias=bias,
        out_bias=bias,
        gated=False,
        mlp_bias=c.get("mlp_bias", False),
    )


FAMILIES = {"nemotron": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
