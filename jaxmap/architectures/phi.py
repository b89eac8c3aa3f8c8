"""Phi-1, 1.5 and 2: attention and MLP in parallel after one norm, biases everywhere."""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Gunasekar et al. 2023, arXiv:2306.11644; Li et al. 2023, arXiv:2309.05463"
PREFIX = "model."
INERT_TENSORS = (r"rotary_emb\.inv_freq$",)


def spec(c: Config) -> Spec:
    D, H = c["hidden_size"], c["num_attention_heads"]
    C = c.get("head_dim") or head_width(c, D, H)
    c.assume("max_position_embeddings", 2048)
    eps = c.get("layer_norm_eps", 1e-5)
    normed = c.get("qk_layernorm", False)
    c.inert("attention_dropout", "embd_pdrop", "resid_pdrop")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=c.get("num_key_value_heads") or H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=rope.context_of(c),
        norms=frozenset({"attn_in"}),
        parallel=True,
        norm="layer",
        norm_bias=True,
        eps=eps,
        qkv_bias=True,
        out_bias=True,
        qk_norm=QkNorm("head", "layer", eps, bias=True) if normed else None,
        ropes=(rope.from_config(c, head_dim=C, partial_key="partial_rotary_factor", partial=0.5),),
        act=c.get("hidden_act", "gelu_new"),
        gated=False,
        mlp_bias=True,
        tied=c.get("tie_word_embeddings", False),
        head_bias=True,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        "embed": Row("model.embed_tokens.weight"),
        "head": Row("lm_head.weight"),
        "head_bias": Row("lm_head.bias"),
        **norm("final_norm", "model.final_layernorm"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **split_qkv(f"{layer}.self_attn"),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_layernorm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_layernorm"),
        **linear("blocks/attn/o", f"{layer}.self_attn.dense", OUT),
        **linear("blocks/mlp/up", f"{layer}.mlp.fc1", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.fc2", DOWN),
    }


FAMILIES = {"phi": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
