"""GPT-NeoX-Japanese: GPT-NeoX in sequence, with one bias, in the last layer's attention."""

from __future__ import annotations

from jaxmap.architectures import gpt_neox, rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, fused_qkv, norm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "ABEJA 2022, gpt-neox-japanese-2.7b"
PREFIX = "gpt_neox_japanese."


def spec(c: Config) -> Spec:
    L, D, H = c["num_hidden_layers"], c["hidden_size"], c["num_attention_heads"]
    C = head_width(c, D, H)
    c.inert("attention_dropout", "hidden_dropout", "rope_theta")
    return Spec(
        L=L,
        D=D,
        H=H,
        G=H,
        C=C,
        F=int(D * c.get("intermediate_multiple_size", 4)),
        V=c["vocab_size"],
        context=rope.context_of(c),
        kinds=(*(Kind(),) * (L - 1), Kind(out_bias=True)),
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_eps", 1e-5),
        ropes=(
            rope.from_config(
                c, head_dim=C, theta_key="rotary_emb_base", partial_key="rotary_pct", partial=1.0
            ),
        ),
        act=c.get("hidden_act", "gelu"),
        gated=False,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "gpt_neox_japanese.layers.{l}"
    attn = f"{layer}.attention"
    return {
        "embed": Row("gpt_neox_japanese.embed_in.weight"),
        "head": Row("embed_out.weight"),
        **norm("final_norm", "gpt_neox_japanese.final_layer_norm"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **fused_qkv(f"{attn}.query_key_value", "(h p c) d -> p d h c", "(h p c) -> p h c"),
        "blocks/attn/o/kernel": Row(f"{attn}.dense.weight", OUT),
        "blocks/attn/o/bias": Row(f"{attn}.dense_bias"),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        "blocks/mlp/up/kernel": Row(f"{layer}.mlp.dense_h_to_4h.weight", UP),
        "blocks/mlp/down/kernel": Row(f"{layer}.mlp.dense_4h_to_h.weight", DOWN),
    }


FAMILIES = {"gpt_neox_japanese": Family(PAPER, spec, rows, PREFIX, gpt_neox.INERT_TENSORS)}
