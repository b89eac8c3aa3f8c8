"""GPT-J: attention and MLP in parallel after one norm, rope on adjacent channels."""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.spec import Spec

PAPER = "Wang and Komatsuzaki 2021, GPT-J-6B: A 6 Billion Parameter Autoregressive Language Model"
PREFIX = "transformer."
INERT_TENSORS = (r"attn\.bias$", r"attn\.masked_bias$", r"attn\.embed_positions$")


def spec(c: Config) -> Spec:
    D = c.first("n_embd", "hidden_size")
    H = c.first("n_head", "num_attention_heads")
    c.require("rotary", (True,), True)
    c.require("scale_attn_weights", (True,), True)
    c.inert("n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop")
    c.inert(*(key for key in c if key.startswith("summary_")))
    return Spec(
        L=c.first("n_layer", "num_hidden_layers"),
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c.get("n_inner") or 4 * D,
        V=c["vocab_size"],
        context=c.first("n_positions", "max_position_embeddings"),
        norms=frozenset({"attn_in"}),
        parallel=True,
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        ropes=(rope.plain(c.get("rotary_dim", 64), pairs="adjacent"),),
        act=c.get("activation_function", "gelu_new"),
        gated=False,
        mlp_bias=True,
        tied=c.get("tie_word_embeddings", False),
        head_bias=True,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "head": Row("lm_head.weight"),
        "head_bias": Row("lm_head.bias"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.ln_1"),
        **split_qkv(f"{layer}.attn"),
        **linear("blocks/attn/o", f"{layer}.attn.out_proj", OUT),
        **linear("blocks/mlp/up", f"{layer}.mlp.fc_in", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.fc_out", DOWN),
    }


FAMILIES = {"gptj": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
