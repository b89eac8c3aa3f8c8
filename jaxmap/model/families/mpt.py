"""MPT: linear position biases, norms without bias, clipped queries, keys and values.

transformers 5.23 builds the slopes of alibi_bias_max 8 whatever config.json says; they follow it
here, as in training (MPT-7B-StoryWriter: 16).
"""

from __future__ import annotations

from jaxmap.model import alibi
from jaxmap.model.families.config import Config, head_width
from jaxmap.model.families.rows import DOWN, OUT, UP, Row, fused_qkv, linear, norm
from jaxmap.model.spec import Spec

PAPER = "MosaicML NLP Team 2023, Introducing MPT-7B"
PREFIX = "transformer."
INERT_TENSORS = ()


def spec(c: Config) -> Spec:
    L, D = c.first("n_layers", "num_hidden_layers"), c.first("d_model", "hidden_size")
    H = c.first("n_heads", "num_attention_heads")
    C = head_width(c, D, H)
    a = c.child("attn_config") or Config({}, c.where)
    slopes = alibi.interleaved(H, float(a.get("alibi_bias_max", 8)))
    scale, clip = a.get("softmax_scale"), a.get("clip_qkv")
    # Without reference: transformers ignores these, the training code does something else.
    a.require("alibi", (True,), True)
    a.require("qk_ln", (False,), False)
    a.require("prefix_lm", (False,), False)
    a.require("attn_type", ("multihead_attention",), "multihead_attention")
    c.require("no_bias", (True,), True)
    c.require("logit_scale", (None,), None)
    c.require("norm_type", ("low_precision_layernorm", "layernorm"), "low_precision_layernorm")
    a.inert("attn_pdrop", "attn_impl", "attn_uses_sequence_id")
    a.check_all_read()
    c.inert("learned_pos_emb")  # where there is no ALiBi
    c.inert("resid_pdrop", "emb_pdrop", "embedding_fraction", "init_device", "init_config")
    c.inert("tokenizer_name", "verbose", "fc_type")
    return Spec(
        L=L,
        D=D,
        H=H,
        G=H,
        C=C,
        F=c.get("expansion_ratio", 4) * D,
        V=c["vocab_size"],
        context=c.get("max_seq_len", 2048),
        norm="layer",
        eps=c.get("layer_norm_epsilon", 1e-5),
        clip_qkv=clip or 0.0,
        alibi=slopes,
        scale=(scale or C**-0.5,) * L,
        act="gelu",
        gated=False,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.blocks.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.norm_f"),
        **norm("blocks/attn_in", f"{layer}.norm_1"),
        **fused_qkv(f"{layer}.attn.Wqkv", "(p h c) d -> p d h c", "(p h c) -> p h c"),
        **linear("blocks/attn/o", f"{layer}.attn.out_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.norm_2"),
        **linear("blocks/mlp/up", f"{layer}.ffn.up_proj", UP),
        **linear("blocks/mlp/down", f"{layer}.ffn.down_proj", DOWN),
    }
