"""XGLM: fixed sines and cosines as positions, a scaled embedding."""

from __future__ import annotations

import math

import numpy as np

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Lin et al. 2021, arXiv:2112.10668"
PREFIX = "model."
INERT_TENSORS = (r"embed_positions\.weights$",)


def _sinusoids(c: Config, D: int) -> tuple[float, ...]:
    """The frequencies 10000^(-i/(D/2 - 1)), i < D/2, in float32 as in transformers."""
    if D % 2 or D < 4:
        raise InputError(f"{c.where}: a width of {D} does not divide into sines and cosines")
    step = np.float32(-math.log(10_000) / (D // 2 - 1))
    return tuple(np.exp(np.arange(D // 2, dtype=np.float32) * step).tolist())


def spec(c: Config) -> Spec:
    D = c.first("d_model", "hidden_size")
    H = c.first("attention_heads", "num_attention_heads")
    c.assume("max_position_embeddings", 2048)
    c.require("add_cross_attention", (False,), False)
    c.require("pad_token_id", (None, 0, 1), 1)  # from 2 on, transformers zeroes a position
    c.inert("dropout", "attention_dropout", "activation_dropout", "layerdrop", "init_std")
    return Spec(
        L=c.first("num_layers", "num_hidden_layers"),
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c.get("ffn_dim", 4096),
        V=c["vocab_size"],
        context=c["max_position_embeddings"],
        norm="layer",
        norm_bias=True,
        eps=1e-5,
        qkv_bias=True,
        out_bias=True,
        act=c.get("activation_function", "gelu"),
        gated=False,
        mlp_bias=True,
        position_offset=2,
        sinusoids=_sinusoids(c, D),
        embed_scale=math.sqrt(D) if c.get("scale_embedding", True) else 1.0,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        "embed": Row("model.embed_tokens.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "model.layer_norm"),
        **norm("blocks/attn_in", f"{layer}.self_attn_layer_norm"),
        **split_qkv(f"{layer}.self_attn"),
        **linear("blocks/attn/o", f"{layer}.self_attn.out_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.final_layer_norm"),
        **linear("blocks/mlp/up", f"{layer}.fc1", UP),
        **linear("blocks/mlp/down", f"{layer}.fc2", DOWN),
    }


FAMILIES = {"xglm": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
