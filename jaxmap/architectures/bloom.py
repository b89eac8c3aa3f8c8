"""BLOOM: linear position biases, a norm on the embedding."""

from __future__ import annotations

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, grouped_qkv, linear, norm
from jaxmap.model.layers import alibi
from jaxmap.model.spec import Spec

PAPER = "Scao et al. 2022, arXiv:2211.05100"
PREFIX = "transformer."
INERT_TENSORS = ()


def spec(c: Config) -> Spec:
    D = c.first("n_embed", "hidden_size")
    H = c.first("n_head", "num_attention_heads")
    if (c.get("pretraining_tp") or 1) > 1:
        # The reference then sums slices of two projections and leaves out their biases, with which
        # the model was trained.
        c.require("slow_but_exact", (False,), False)
    c.inert("slow_but_exact")
    c.inert("hidden_dropout", "attention_dropout", "offset_alibi", "n_inner")
    c.inert("attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion")
    c.inert("skip_bias_add", "skip_bias_add_qkv")
    return Spec(
        L=c.first("n_layer", "num_hidden_layers"),
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=4 * D,
        V=c["vocab_size"],
        context=c.get("seq_length", 2048),
        norm="layer",
        norm_bias=True,
        residual_normed=c.get("apply_residual_connection_post_layernorm", False),
        eps=c.get("layer_norm_epsilon", 1e-5),
        qkv_bias=True,
        out_bias=True,
        alibi=alibi.slopes(H),
        act="gelu_new",
        gated=False,
        mlp_bias=True,
        embed_norm=True,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.word_embeddings.weight"),
        "head": Row("lm_head.weight"),
        **norm("embed_norm", "transformer.word_embeddings_layernorm"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **grouped_qkv(f"{layer}.self_attention.query_key_value", spec.H, spec.G),
        **linear("blocks/attn/o", f"{layer}.self_attention.dense", OUT),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        **linear("blocks/mlp/up", f"{layer}.mlp.dense_h_to_4h", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.dense_4h_to_h", DOWN),
    }


FAMILIES = {"bloom": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
