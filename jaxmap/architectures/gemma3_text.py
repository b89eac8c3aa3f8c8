"""Gemma 3, text: Gemma 2 with query norms instead of soft caps, and a rope per kind of layer."""

from __future__ import annotations

from jaxmap.architectures import gemma2, llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Gemma Team 2025, arXiv:2503.19786"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    facts = llama.shape(
        c,
        kv_heads=4,
        head_dim=256,
        act_key="hidden_activation",
        act="gelu_pytorch_tanh",
        tied=True,
    )
    L, C = facts["L"], facts["C"]
    c.require("use_bidirectional_attention", (None, False), None)
    c.require("attn_logit_softcapping", (None,), None)  # transformers has the key but ignores it
    period = c.get("sliding_window_pattern", c.get("_sliding_window_pattern", 6))
    near = sliding_layers(c, L, lambda i: (i + 1) % period != 0)
    window = c.get("sliding_window", 4096) or 0
    bias = c.get("attention_bias", False)
    eps = c.get("rms_norm_eps", 1e-6)
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        norms=gemma2.SANDWICH,
        norm_offset=1.0,
        eps=eps,
        embed_scale=facts["D"] ** 0.5,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", eps, offset=1.0),
        scale=(c.get("query_pre_attn_scalar", 256) ** -0.5,) * L,
        logit_softcap=c.get("final_logit_softcapping") or 0.0,
        ropes=(
            rope.from_config(c, head_dim=C, theta=1e6, layer_type="full_attention"),
            rope.from_config(
                c, head_dim=C, theta_key="rope_local_base_freq", layer_type="sliding_attention"
            ),
        ),
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}.self_attn"
    return {
        **gemma2.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.k_norm"),
    }


FAMILIES = {"gemma3_text": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
