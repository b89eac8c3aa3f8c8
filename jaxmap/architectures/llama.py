"""Llama 1 to 3 and the many that share its architecture."""

from __future__ import annotations

from typing import Any

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.spec import Spec

PAPER = "Touvron et al. 2023, arXiv:2302.13971; Grattafiori et al. 2024, arXiv:2407.21783"
PREFIX = "model."
INERT_TENSORS = (r"rotary_emb\.inv_freq$",)


def shape(
    c: Config,
    *,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    act_key: str = "hidden_act",
    act: str = "silu",
    tied: bool = False,
) -> dict:
    """Sizes, activation and tied head; the arguments are defaults for keys that may be absent."""
    H, D = c["num_attention_heads"], c["hidden_size"]
    C = c.get("head_dim", head_dim) or head_width(c, D, H)
    c.inert("attention_dropout", "pretraining_tp")
    return dict(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=c.get("num_key_value_heads", kv_heads) or H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        act=c.get(act_key, act),
        tied=c.get("tie_word_embeddings", tied),
    )


def sizes(
    c: Config, *, eps: float = 1e-6, rope_facts: dict | None = None, **shape_facts: Any
) -> dict:
    """The facts of `shape`, the context, the norms' epsilon and one rope (`rope.from_config`)."""
    facts = shape(c, **shape_facts)
    return dict(
        **facts,
        context=rope.context_of(c),
        eps=c.get("rms_norm_eps", eps),
        ropes=(rope.from_config(c, head_dim=facts["C"], **(rope_facts or {})),),
    )


def spec(c: Config) -> Spec:
    bias = c.get("attention_bias", False)
    return Spec(**sizes(c), qkv_bias=bias, out_bias=bias, mlp_bias=c.get("mlp_bias", False))


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        "embed": Row("model.embed_tokens.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "model.norm"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **split_qkv(f"{layer}.self_attn"),
        **linear("blocks/attn/o", f"{layer}.self_attn.o_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        **linear("blocks/mlp/gate", f"{layer}.mlp.gate_proj", UP),
        **linear("blocks/mlp/up", f"{layer}.mlp.up_proj", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.down_proj", DOWN),
    }


FAMILIES = {"llama": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
