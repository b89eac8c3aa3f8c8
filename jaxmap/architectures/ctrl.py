"""CTRL: a scaled embedding with fixed sines and cosines, ReLU, a head with a bias."""

from __future__ import annotations

import numpy as np

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import (
    DOWN,
    KEY_VALUE,
    KEY_VALUE_BIAS,
    OUT,
    QUERY,
    QUERY_BIAS,
    UP,
    Row,
    linear,
    norm,
)
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Keskar et al. 2019, arXiv:1909.05858"


def _sinusoids(c: Config, D: int) -> tuple[float, ...]:
    """The frequencies 10000^(-2i/D), i < D/2, in float32 as in transformers."""
    if D % 2:
        raise InputError(f"{c.where}: a width of {D} does not divide into sines and cosines")
    exponent = np.arange(0, D, 2, dtype=np.float32) / np.float32(D)
    powers = np.power(10_000.0, exponent.astype(np.float64)).astype(np.float32)
    return tuple((np.float32(1) / powers).tolist())


def spec(c: Config) -> Spec:
    D, H = c["n_embd"], c["n_head"]
    c.inert("n_ctx", "from_tf", "attn_pdrop", "embd_pdrop", "resid_pdrop")
    c.inert(*(key for key in c if key.startswith("summary_")))
    return Spec(
        L=c["n_layer"],
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c["dff"],
        V=c["vocab_size"],
        context=c["n_positions"],
        norm="layer",
        norm_bias=True,
        eps=1e-6,
        final_eps=c.get("layer_norm_epsilon", 1e-6),
        qkv_bias=True,
        out_bias=True,
        act="relu",
        gated=False,
        mlp_bias=True,
        sinusoids=_sinusoids(c, D),
        embed_scale=D**0.5,
        tied=c.get("tie_word_embeddings", True),
        head_bias=True,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    attn = f"{layer}.multi_head_attention"
    heads = {}
    for letter in "qkv":
        kernel, bias = (QUERY, QUERY_BIAS) if letter == "q" else (KEY_VALUE, KEY_VALUE_BIAS)
        heads[f"blocks/attn/{letter}/kernel"] = Row(f"{attn}.W{letter}.weight", kernel)
        heads[f"blocks/attn/{letter}/bias"] = Row(f"{attn}.W{letter}.bias", bias)
    return {
        "embed": Row("transformer.w.weight"),
        "head": Row("lm_head.weight"),
        "head_bias": Row("lm_head.bias"),
        **norm("final_norm", "transformer.layernorm"),
        **norm("blocks/attn_in", f"{layer}.layernorm1"),
        **heads,
        **linear("blocks/attn/o", f"{attn}.dense", OUT),
        **norm("blocks/mlp_in", f"{layer}.layernorm2"),
        **linear("blocks/mlp/up", f"{layer}.ffn.0", UP),
        **linear("blocks/mlp/down", f"{layer}.ffn.2", DOWN),
    }


FAMILIES = {"ctrl": Family(PAPER, spec, rows, "transformer.", (r"pos_encoding$",))}
