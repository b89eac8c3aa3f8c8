"""OPT and Galactica. OPT-350m has norms after each branch and a narrower embedding.

OPT-350m has no final norm, so the lens projects and unembeds its states directly.
"""

from __future__ import annotations

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.model.spec import Spec

PAPER = "Zhang et al. 2022, arXiv:2205.01068"
PREFIX = "model."
INERT_TENSORS = (r"decoder\.version$",)
_OFFSET = 2  # the position table's row for position 0


def spec(c: Config) -> Spec:
    D, H = c["hidden_size"], c["num_attention_heads"]
    c.assume("max_position_embeddings", 2048)
    context = c["max_position_embeddings"]
    before = c.get("do_layer_norm_before", True)
    removed = c.get("_remove_final_layer_norm", False)
    affine = c.get("layer_norm_elementwise_affine", True)
    bias = c.get("enable_bias", True)
    E = c.get("word_embed_proj_dim") or D
    c.inert("dropout", "attention_dropout", "activation_dropout", "layerdrop", "init_std")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c.get("ffn_dim", 3072),
        V=c["vocab_size"],
        context=context,
        norms=frozenset({"attn_in", "mlp_in"} if before else {"attn_res", "mlp_res"}),
        norm="layer",
        norm_scale=affine,
        norm_bias=affine,
        eps=1e-5,
        qkv_bias=bias,
        out_bias=bias,
        act=c.get("activation_function", "relu"),
        gated=False,
        mlp_bias=bias,
        positions=context + _OFFSET,
        position_offset=_OFFSET,
        embed_D=0 if E == D else E,
        final_norm=before and not removed,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    top, layer = "model.decoder", "model.decoder.layers.{l}"
    after_attn = "attn_res" if "attn_res" in spec.norms else "attn_in"
    after_mlp = "mlp_res" if "mlp_res" in spec.norms else "mlp_in"
    return {
        "embed": Row(f"{top}.embed_tokens.weight"),
        "embed_in/kernel": Row(f"{top}.project_in.weight", "d e -> e d"),
        "positions": Row(f"{top}.embed_positions.weight"),
        "embed_out/kernel": Row(f"{top}.project_out.weight", "e d -> d e"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", f"{top}.final_layer_norm"),
        **norm(f"blocks/{after_attn}", f"{layer}.self_attn_layer_norm"),
        **split_qkv(f"{layer}.self_attn"),
        **linear("blocks/attn/o", f"{layer}.self_attn.out_proj", OUT),
        **norm(f"blocks/{after_mlp}", f"{layer}.final_layer_norm"),
        **linear("blocks/mlp/up", f"{layer}.fc1", UP),
        **linear("blocks/mlp/down", f"{layer}.fc2", DOWN),
    }


FAMILIES = {"opt": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
