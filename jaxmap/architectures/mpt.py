"""MPT: linear position biases, usually no other biases, clipped queries, keys and values.

As in transformers 5.23, the slopes are those of alibi_bias_max = 8 whatever config.json says, and
`alibi` itself is not read. Its MLPs are four times as wide as the residual stream whatever
`expansion_ratio` says, those of the training code as wide as it says: the tensors decide. It
ignores no_bias and qk_ln too, but the tensors that they add are in the files; this page uses them.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family, ShapeOf
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, fused_qkv, linear, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.layers import alibi
from jaxmap.model.spec import Spec

PAPER = "MosaicML NLP Team 2023, Introducing MPT-7B"
PREFIX = "transformer."
INERT_TENSORS = ()


def spec(c: Config) -> Spec:
    L, D = c.first("n_layers", "num_hidden_layers"), c.first("d_model", "hidden_size")
    H = c.first("n_heads", "num_attention_heads")
    C = head_width(c, D, H)
    a = c.child("attn_config") or Config({}, c.where)
    scale, clip = a.get("softmax_scale"), a.get("clip_qkv")
    eps, bias = c.get("layer_norm_epsilon", 1e-5), not c.get("no_bias", True)
    normed = a.get("qk_ln", False)
    # transformers ignores these keys, the training code does not.
    a.require("rope", (False,), False)
    a.require("qk_gn", (False,), False)
    a.require("prefix_lm", (False,), False)
    a.require("sliding_window_size", (-1,), -1)
    a.require("attn_type", ("multihead_attention",), "multihead_attention")
    c.require("logit_scale", (None,), None)
    c.require("norm_type", ("low_precision_layernorm", "layernorm"), "low_precision_layernorm")
    a.inert("alibi", "alibi_bias_max")
    a.inert("attn_pdrop", "attn_impl", "attn_uses_sequence_id")
    a.inert("rope_theta", "rope_impl", "rope_dail_config", "rope_hf_config")  # without rope
    a.check_all_read()
    c.inert("learned_pos_emb")  # only used without ALiBi
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
        norm_bias=bias,
        eps=eps,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("all", "layer", eps, bias=bias) if normed else None,
        clip_qkv=clip or 0.0,
        alibi=alibi.slopes(H),
        scale=(scale or C**-0.5,) * L,
        act="gelu",
        gated=False,
        mlp_bias=bias,
        tied=c.get("tie_word_embeddings", True),
    )


def by_shapes(spec: Spec, shape_of: ShapeOf) -> Spec:
    """The spec with the width of the MLP and without the biases that the file does not have.

    transformers makes no biases, whatever `no_bias` says.
    """
    shape = shape_of("transformer.blocks.0.ffn.up_proj.weight")
    if shape is not None:
        spec = dataclasses.replace(spec, F=shape[0])
    if shape is None or shape_of("transformer.blocks.0.ffn.up_proj.bias") is not None:
        return spec
    norm = spec.qk_norm and dataclasses.replace(spec.qk_norm, bias=False)
    return dataclasses.replace(
        spec, qk_norm=norm, norm_bias=False, qkv_bias=False, out_bias=False, mlp_bias=False
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.blocks.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.norm_f"),
        **norm("blocks/attn_in", f"{layer}.norm_1"),
        **fused_qkv(f"{layer}.attn.Wqkv", "(p h c) d -> p d h c", "(p h c) -> p h c"),
        **norm("blocks/attn/q_norm", f"{layer}.attn.q_ln"),
        **norm("blocks/attn/k_norm", f"{layer}.attn.k_ln"),
        **linear("blocks/attn/o", f"{layer}.attn.out_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.norm_2"),
        **linear("blocks/mlp/up", f"{layer}.ffn.up_proj", UP),
        **linear("blocks/mlp/down", f"{layer}.ffn.down_proj", DOWN),
    }


FAMILIES = {"mpt": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS, by_shapes=by_shapes)}
