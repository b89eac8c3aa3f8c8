"""Gemma 1: Llama with scaled embeddings, norms by 1 + weight and a tanh GELU."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Gemma Team 2024, arXiv:2403.08295"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=16, head_dim=256, act="gelu_pytorch_tanh", tied=True)
    # The first files have "gelu" for its tanh approximation; later ones name it in another key.
    c.require("hidden_activation", (None, "gelu_pytorch_tanh"), None)
    c.require("use_bidirectional_attention", (None, False), None)
    bias = c.get("attention_bias", False)
    made = Spec(
        **sizes,
        norm_offset=1.0,
        embed_scale=sizes["D"] ** 0.5,
        qkv_bias=bias,
        out_bias=bias,
    )
    return dataclasses.replace(made, act="gelu_pytorch_tanh") if made.act == "gelu" else made


FAMILIES = {"gemma": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
