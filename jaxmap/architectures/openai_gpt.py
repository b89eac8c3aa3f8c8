"""GPT-1: GPT-2's parameters with the norms on the residual stream after each branch.

It has no final norm, so the lens unembeds its states directly.
"""

from __future__ import annotations

from jaxmap.architectures import gpt2
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.spec import Spec

PAPER = "Radford et al. 2018, Improving Language Understanding by Generative Pre-Training"


def spec(c: Config) -> Spec:
    D, H = c["n_embd"], c["n_head"]
    positions = c["n_positions"]
    act = c.get("afn", "gelu")
    c.inert("n_ctx", "n_special", "predict_special_tokens")
    c.inert("attn_pdrop", "embd_pdrop", "resid_pdrop")
    c.inert(*(key for key in c if key.startswith("summary_")))
    return Spec(
        L=c["n_layer"],
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=4 * D,
        V=c["vocab_size"],
        context=positions,
        norms=frozenset({"attn_res", "mlp_res"}),
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        qkv_bias=True,
        out_bias=True,
        act="gelu_new" if act == "gelu" else act,  # this family's name of the tanh form
        gated=False,
        mlp_bias=True,
        positions=positions,
        final_norm=False,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        **gpt2.rows(spec),
        "embed": Row("transformer.tokens_embed.weight"),
        "positions": Row("transformer.positions_embed.weight"),
        **norm("blocks/attn_res", f"{layer}.ln_1"),
        **norm("blocks/mlp_res", f"{layer}.ln_2"),
    }


FAMILIES = {
    "openai-gpt": Family(PAPER, spec, rows, gpt2.PREFIX, (*gpt2.INERT_TENSORS, r"position_ids$"))
}
