"""BioGPT: OPT with a scaled embedding and GELU.

layer_norm_eps of config.json is nobody's: fairseq, where the model was trained, and transformers
have layer norms with the 1e-5 of PyTorch.
"""

from __future__ import annotations

import math

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.spec import Spec

PAPER = "Luo et al. 2022, arXiv:2210.10341"
_OFFSET = 2  # the position table's row for position 0


def spec(c: Config) -> Spec:
    D, H = c["hidden_size"], c["num_attention_heads"]
    c.assume("max_position_embeddings", 1024)
    context = c["max_position_embeddings"]
    c.inert("layer_norm_eps", "layerdrop")
    c.inert("activation_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=context,
        norm="layer",
        norm_bias=True,
        eps=1e-5,
        qkv_bias=True,
        out_bias=True,
        act=c.get("hidden_act", "gelu"),
        gated=False,
        mlp_bias=True,
        positions=context + _OFFSET,
        position_offset=_OFFSET,
        embed_scale=math.sqrt(D) if c.get("scale_embedding", True) else 1.0,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "biogpt.layers.{l}"
    return {
        "embed": Row("biogpt.embed_tokens.weight"),
        "positions": Row("biogpt.embed_positions.weight"),
        "head": Row("output_projection.weight"),
        **norm("final_norm", "biogpt.layer_norm"),
        **norm("blocks/attn_in", f"{layer}.self_attn_layer_norm"),
        **split_qkv(f"{layer}.self_attn"),
        **linear("blocks/attn/o", f"{layer}.self_attn.out_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.final_layer_norm"),
        **linear("blocks/mlp/up", f"{layer}.fc1", UP),
        **linear("blocks/mlp/down", f"{layer}.fc2", DOWN),
    }


FAMILIES = {"biogpt": Family(PAPER, spec, rows, "biogpt.", ())}
