"""GPT-NeoX and Pythia."""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, fused_qkv, linear, norm
from jaxmap.model.spec import Spec

PAPER = "Black et al. 2022, arXiv:2204.06745; Biderman et al. 2023, arXiv:2304.01373"
PREFIX = "gpt_neox."
INERT_TENSORS = (r"attention\.bias$", r"attention\.masked_bias$", r"rotary_emb\.inv_freq$")


def spec(c: Config) -> Spec:
    H, D = c["num_attention_heads"], c["hidden_size"]
    C = head_width(c, D, H)
    bias = c.get("attention_bias", True)
    c.inert("attention_dropout", "hidden_dropout", "classifier_dropout", "rope_theta")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=rope.context_of(c),
        parallel=c.get("use_parallel_residual", True),
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_eps", 1e-5),
        qkv_bias=bias,
        out_bias=bias,
        ropes=(
            rope.from_config(
                c,
                head_dim=C,
                theta_key="rotary_emb_base",
                partial_key="rotary_pct",
                partial=0.25,
            ),
        ),
        act=c.get("hidden_act", "gelu"),
        gated=False,
        mlp_bias=True,
        tied=c.get("tie_word_embeddings", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "gpt_neox.layers.{l}"
    return {
        "embed": Row("gpt_neox.embed_in.weight"),
        "head": Row("embed_out.weight", other_names=("lm_head.weight",)),
        **norm("final_norm", "gpt_neox.final_layer_norm"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **fused_qkv(
            f"{layer}.attention.query_key_value", "(h p c) d -> p d h c", "(h p c) -> p h c"
        ),
        **linear("blocks/attn/o", f"{layer}.attention.dense", OUT),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        **linear("blocks/mlp/up", f"{layer}.mlp.dense_h_to_4h", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.dense_4h_to_h", DOWN),
    }


FAMILIES = {"gpt_neox": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
