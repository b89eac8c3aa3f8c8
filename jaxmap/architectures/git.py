"""GIT, given text alone: a BERT that sees earlier tokens only, with norms after each sum."""

from __future__ import annotations

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import (
    DOWN,
    KEY_VALUE,
    KEY_VALUE_BIAS,
    OUT,
    QUERY,
    QUERY_BIAS,
    UP,
    Row,
    linear,
    norm,
)
from jaxmap.model.spec import Spec

PAPER = "Wang et al. 2022, arXiv:2205.14100"
PREFIX = "git."
INERT_TENSORS = (
    r"position_ids$",
    r"^(git\.)?(image_encoder|visual_projection|img_temporal_embedding)\.",
)


def spec(c: Config) -> Spec:
    H, D, L = c["num_attention_heads"], c["hidden_size"], c["num_hidden_layers"]
    c.inert("attention_probs_dropout_prob", "hidden_dropout_prob")
    c.inert("vision_config", "num_image_with_embedding")
    return Spec(
        L=L,
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=c["max_position_embeddings"],
        norms=frozenset({"attn_res", "mlp_res"}),
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_eps", 1e-12),
        qkv_bias=True,
        out_bias=True,
        act=c.get("hidden_act", "gelu"),
        gated=False,
        mlp_bias=True,
        positions=c["max_position_embeddings"],
        embed_norm=True,
        final_norm=False,
        tied=c.get("tie_word_embeddings", False),
        head_bias=True,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer, embed = "git.encoder.layer.{l}", "git.embeddings"
    own = f"{layer}.attention.self"
    made = {
        "embed": Row(f"{embed}.word_embeddings.weight"),
        "positions": Row(f"{embed}.position_embeddings.weight"),
        "head": Row("output.weight"),
        "head_bias": Row("output.bias"),
        **norm("embed_norm", f"{embed}.LayerNorm"),
        **linear("blocks/attn/o", f"{layer}.attention.output.dense", OUT),
        **norm("blocks/attn_res", f"{layer}.attention.output.LayerNorm"),
        **linear("blocks/mlp/up", f"{layer}.intermediate.dense", UP),
        **linear("blocks/mlp/down", f"{layer}.output.dense", DOWN),
        **norm("blocks/mlp_res", f"{layer}.output.LayerNorm"),
    }
    for letter, name in (("q", "query"), ("k", "key"), ("v", "value")):
        kernel, bias = (QUERY, QUERY_BIAS) if letter == "q" else (KEY_VALUE, KEY_VALUE_BIAS)
        made[f"blocks/attn/{letter}/kernel"] = Row(f"{own}.{name}.weight", kernel)
        made[f"blocks/attn/{letter}/bias"] = Row(f"{own}.{name}.bias", bias)
    return made


FAMILIES = {"git": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
