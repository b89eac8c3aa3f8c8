"""Arcee's AFM: Llama with an MLP that has no gate and a squared ReLU."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Arcee AI 2025, AFM-4.5B"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    bias = c.get("attention_bias", False)
    return Spec(
        **llama.sizes(c, eps=1e-5, act="relu2"),
        qkv_bias=bias,
        out_bias=bias,
        gated=False,
        mlp_bias=c.get("mlp_bias", False),
    )


FAMILIES = {"arcee": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
