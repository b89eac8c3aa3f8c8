"""StarCoder 2: rotary positions, grouped keys and values, LayerNorm, a plain MLP."""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.spec import Spec

PAPER = "Lozhkov et al. 2024, arXiv:2402.19173"
PREFIX = "model."
INERT_TENSORS = (r"rotary_emb\.inv_freq$",)


def spec(c: Config) -> Spec:
    L, D, H = c["num_hidden_layers"], c["hidden_size"], c["num_attention_heads"]
    C = c.get("head_dim") or head_width(c, D, H)
    c.assume("max_position_embeddings", 4096)
    bias = c.get("use_bias", True)
    c.require("norm_type", ("layer_norm",), "layer_norm")
    c.require("mlp_type", ("default",), "default")
    c.require("scale_attn_weights", (True,), True)
    c.inert("attention_dropout", "residual_dropout", "embedding_dropout")
    # Remains of GPT-BigCode in the published files; hidden_act and norm_epsilon are used.
    c.inert("activation_function", "layer_norm_epsilon")
    c.inert("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    return Spec(
        L=L,
        D=D,
        H=H,
        G=c.get("num_key_value_heads", 2) or H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=rope.context_of(c),
        norm="layer",
        norm_bias=True,
        eps=c.get("norm_epsilon", 1e-5),
        qkv_bias=bias,
        out_bias=bias,
        ropes=(rope.from_config(c, head_dim=C),),
        window=(c.get("sliding_window") or 0,) * L,
        act=c.get("hidden_act", "gelu_pytorch_tanh"),
        gated=False,
        mlp_bias=bias,
        tied=c.get("tie_word_embeddings", True),
    )


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
        **linear("blocks/mlp/up", f"{layer}.mlp.c_fc", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.c_proj", DOWN),
    }


FAMILIES = {"starcoder2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
