"""Kosmos-2 and 2.5, given text alone: XGLM with a norm of each MLP's inner activations.

Kosmos-2 also normalises the output of all heads; Kosmos-2.5 adds a vector to every embedding of
text. Positions are counted from the padding token's id on; texts hold no such token.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import xglm
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row, linear, norm
from jaxmap.model.spec import Spec


def _facts(c: Config) -> Spec:
    """Of both; the keys that hold sizes have names of their own."""
    offset = c.get("pad_token_id", 1) + 1
    eps = c.get("layer_norm_eps", 1e-5)
    renamed = {
        "d_model": c.first("embed_dim", "hidden_size"),
        "num_layers": c.first("layers", "num_hidden_layers"),
        "attention_heads": c.first("attention_heads", "num_attention_heads"),
        "pad_token_id": None,
    }
    c.inert("dropout", "attention_dropout", "activation_dropout", "layerdrop", "init_std")
    read = """
        vocab_size ffn_dim max_position_embeddings activation_function scale_embedding
        tie_word_embeddings add_cross_attention
    """.split()
    given = {key: c.get(key) for key in read if c.peek(key) is not None}
    made = xglm.spec(Config({**given, **renamed}, c.where))
    return dataclasses.replace(made, eps=eps, position_offset=offset, inner_norm=True)


def kosmos_2(c: Config) -> Spec:
    """The text model of Kosmos-2."""
    return dataclasses.replace(_facts(c), mixed_norm=True)


def kosmos_2_5(c: Config) -> Spec:
    """The text model of Kosmos-2.5."""
    return dataclasses.replace(_facts(c), embed_bias=True)


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **xglm.rows(spec),
        # Of two vectors, the one for text.
        "embed_shift": Row("model.segment_emb.weight", "1 d -> d", cut=(0, 1, 2)),
        **norm("blocks/attn/mixed_norm", f"{layer}.self_attn.inner_attn_ln"),
        **linear("blocks/mlp/up", f"{layer}.ffn.fc1", UP),
        **norm("blocks/mlp/norm", f"{layer}.ffn.ffn_layernorm"),
        **linear("blocks/mlp/down", f"{layer}.ffn.fc2", DOWN),
    }


FAMILIES = {
    kind: Family(paper, spec, rows, xglm.PREFIX, xglm.INERT_TENSORS)
    for kind, paper, spec in (
        ("kosmos_2_text_model", "Peng et al. 2023, arXiv:2306.14824", kosmos_2),
        ("kosmos_2_5_text_model", "Lv et al. 2023, arXiv:2309.11419", kosmos_2_5),
    )
}
