"""Jais 2: Llama with layer norms, biases and a squared ReLU."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "Inception et al. 2025, Jais 2"


def spec(c: Config) -> Spec:
    bias = c.get("attention_bias", True)
    return Spec(
        **{**llama.sizes(c, act="relu2"), "eps": c.get("layer_norm_eps", 1e-5)},
        norm="layer",
        norm_bias=True,
        qkv_bias=bias,
        out_bias=bias,
        gated=False,
        mlp_bias=c.get("mlp_bias", True),
    )


FAMILIES = {"jais2": Family(PAPER, spec, llama.rows, llama.PREFIX, llama.INERT_TENSORS)}
