"""EXAONE 3: Llama with other names of tensors and keys (remote code on the Hub)."""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.spec import Spec

PAPER = "LG AI Research 2024, arXiv:2408.03541"
PREFIX = "transformer."
INERT_TENSORS = (r"rotary(_emb)?\.inv_freq$",)


def spec(c: Config) -> Spec:
    H, D = c["num_attention_heads"], c["hidden_size"]
    C = c.get("head_dim") or head_width(c, D, H)
    c.inert("attention_dropout", "embed_dropout")
    return Spec(
        L=c.first("num_layers", "num_hidden_layers"),
        D=D,
        H=H,
        G=c.get("num_key_value_heads") or H,
        C=C,
        F=c.get("intermediate_size") or 4 * D,
        V=c["vocab_size"],
        context=rope.context_of(c),
        eps=c.get("layer_norm_epsilon", 1e-5),
        ropes=(rope.from_config(c, head_dim=C),),
        act=c.get("activation_function", "silu"),
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.ln_1"),
        **split_qkv(f"{layer}.attn.attention"),
        **linear("blocks/attn/o", f"{layer}.attn.attention.out_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.ln_2"),
        **linear("blocks/mlp/gate", f"{layer}.mlp.c_fc_0", UP),
        **linear("blocks/mlp/up", f"{layer}.mlp.c_fc_1", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.c_proj", DOWN),
    }


FAMILIES = {"exaone": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
