"""Gemma 2: norms before and after each branch, soft caps, a window in every other layer."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.spec import NORM_SLOTS, Spec

PAPER = "Gemma Team 2024, arXiv:2408.00118"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
SANDWICH = frozenset(NORM_SLOTS) - {"attn_res", "mlp_res"}


def spec(c: Config) -> Spec:
    sizes = llama.sizes(
        c,
        kv_heads=4,
        head_dim=256,
        act_key="hidden_activation",
        act="gelu_pytorch_tanh",
        tied=True,
    )
    L = sizes["L"]
    c.require("use_bidirectional_attention", (None, False), None)
    # transformers reads hidden_activation and sliding_window.
    c.inert("hidden_act", "sliding_window_size")
    bias = c.get("attention_bias", False)
    window = c.get("sliding_window", 4096) or 0
    near = sliding_layers(c, L, lambda i: i % 2 == 0)
    return Spec(
        **sizes,
        norms=SANDWICH,
        norm_offset=1.0,
        embed_scale=sizes["D"] ** 0.5,
        qkv_bias=bias,
        out_bias=bias,
        scale=(c.get("query_pre_attn_scalar", 256) ** -0.5,) * L,
        softcap=c.get("attn_logit_softcapping", 50.0) or 0.0,
        logit_softcap=c.get("final_logit_softcapping", 30.0) or 0.0,
        window=tuple(window if is_near else 0 for is_near in near),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **llama.rows(spec),
        **norm("blocks/attn_out", f"{layer}.post_attention_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.pre_feedforward_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_feedforward_layernorm"),
    }


FAMILIES = {"gemma2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
