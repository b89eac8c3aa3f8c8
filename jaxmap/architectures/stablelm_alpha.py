"""StableLM-Alpha v2: GPT-NeoX with one norm for both branches, a gated MLP and no linear biases.

Its code is not in transformers. The architecture is that of the published training configuration
(norms with biases, linear layers without, a quarter of each head rotated, an MLP of 8/3 the width
rounded up to a multiple of 256), which gives the published numbers of parameters. Fused projections
have the order of GPT-NeoX, with which it was trained: each head's query, key and value in turn; the
MLP's values, then its gates. The first StableLM-Alpha has the type gpt_neox.
"""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, fused_qkv, linear, norm
from jaxmap.model.spec import Spec

PAPER = "Stability AI 2023, StableLM-Base-Alpha-v2"
PREFIX = "transformer."
INERT_TENSORS = (r"rotary_emb\.",)


def spec(c: Config) -> Spec:
    D, H = c["hidden_size"], c["num_heads"]
    C = head_width(c, D, H)
    c.require("rotary_scaling_factor", (1.0,), 1.0)
    turn = rope.from_config(
        c, head_dim=C, theta_key="rotary_emb_base", partial_key="rotary_pct", partial=0.25
    )
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=H,
        C=C,
        F=-(-int(8 * D / 3) // 256) * 256,
        V=c["vocab_size"],
        context=c["max_position_embeddings"],
        norms=frozenset({"attn_in"}),
        parallel=True,
        norm="layer",
        norm_bias=True,
        eps=c.get("norm_eps", 1e-5),
        ropes=(turn,),
        act=c.get("hidden_act", "silu"),
        tied=c.get("tie_word_embeddings", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer, F = "transformer.layers.{l}", spec.F
    mlp = f"{layer}.mlp.gate_proj.weight"
    return {
        "embed": Row("transformer.embed.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.final_norm"),
        **norm("blocks/attn_in", f"{layer}.norm"),
        **fused_qkv(f"{layer}.attention.qkv_proj", "(h p c) d -> p d h c", "(h p c) -> p h c"),
        **linear("blocks/attn/o", f"{layer}.attention.out_proj", OUT),
        "blocks/mlp/up/kernel": Row(mlp, UP, cut=(0, F, 2 * F)),
        "blocks/mlp/gate/kernel": Row(mlp, UP, cut=(F, 2 * F, 2 * F)),
        **linear("blocks/mlp/down", f"{layer}.mlp.out_proj", DOWN),
    }


FAMILIES = {"stablelm_alpha": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
