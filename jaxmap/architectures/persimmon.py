"""Persimmon-8B: GPT-NeoX's attention with norms of each query and key head; a squared ReLU."""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, fused_qkv, linear, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Elsen et al. 2023, Releasing Persimmon-8B"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    D, H = c["hidden_size"], c["num_attention_heads"]
    C = head_width(c, D, H)
    eps = c.get("layer_norm_eps", 1e-5)
    normed = c.get("qk_layernorm", True)
    c.inert("attention_dropout", "hidden_dropout")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=rope.context_of(c),
        norm="layer",
        norm_bias=True,
        eps=eps,
        qkv_bias=True,
        out_bias=True,
        qk_norm=QkNorm("head", "layer", eps, bias=True) if normed else None,
        ropes=(rope.from_config(c, head_dim=C, partial_key="partial_rotary_factor", partial=0.5),),
        act=c.get("hidden_act", "relu2"),
        gated=False,
        mlp_bias=True,
        tied=c.get("tie_word_embeddings", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    attn = f"{layer}.self_attn"
    return {
        "embed": Row("model.embed_tokens.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "model.final_layernorm"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **fused_qkv(f"{attn}.query_key_value", "(h p c) d -> p d h c", "(h p c) -> p h c"),
        **norm("blocks/attn/q_norm", f"{attn}.q_layernorm"),
        **norm("blocks/attn/k_norm", f"{attn}.k_layernorm"),
        **linear("blocks/attn/o", f"{attn}.dense", OUT),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        **linear("blocks/mlp/up", f"{layer}.mlp.dense_h_to_4h", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.dense_4h_to_h", DOWN),
    }


FAMILIES = {"persimmon": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
