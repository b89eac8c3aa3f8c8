"""GPT-2. Its Conv1D stores (in, out), unlike torch's Linear."""

from __future__ import annotations

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, fused_qkv, linear, norm
from jaxmap.model.spec import Spec

PAPER = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners"
PREFIX = "transformer."
INERT_TENSORS = (r"attn\.bias$", r"attn\.masked_bias$")


def spec(c: Config) -> Spec:
    L, D = c.first("n_layer", "num_hidden_layers"), c.first("n_embd", "hidden_size")
    H = c.first("n_head", "num_attention_heads")
    positions = c.first("n_positions", "max_position_embeddings")
    C = head_width(c, D, H)
    scale = C**-0.5 if c.get("scale_attn_weights", True) else 1.0
    by_layer = c.get("scale_attn_by_inverse_layer_idx", False)
    c.require("add_cross_attention", (False,), False)
    c.inert("n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop", "reorder_and_upcast_attn")
    c.inert(*(key for key in c if key.startswith("summary_")))
    return Spec(
        L=L,
        D=D,
        H=H,
        G=H,
        C=C,
        F=c.get("n_inner") or 4 * D,
        V=c["vocab_size"],
        context=positions,
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        qkv_bias=True,
        out_bias=True,
        scale=tuple(scale / (i + 1 if by_layer else 1) for i in range(L)),
        act=c.get("activation_function", "gelu_new"),
        gated=False,
        mlp_bias=True,
        positions=positions,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "positions": Row("transformer.wpe.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.ln_1"),
        **fused_qkv(f"{layer}.attn.c_attn", "d (p h c) -> p d h c", "(p h c) -> p h c"),
        **linear("blocks/attn/o", f"{layer}.attn.c_proj", "(h c) d -> h c d"),
        **norm("blocks/mlp_in", f"{layer}.ln_2"),
        **linear("blocks/mlp/up", f"{layer}.mlp.c_fc", ""),
        **linear("blocks/mlp/down", f"{layer}.mlp.c_proj", ""),
    }


FAMILIES = {"gpt2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
