"""Falcon: RW (ALiBi, sequential), 7B (one key/value head, parallel), 40B, 180B and 11B (groups)."""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, grouped_qkv, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.layers import alibi
from jaxmap.model.spec import Spec

PAPER = "Almazrouei et al. 2023, arXiv:2311.16867; Malartic et al. 2024, arXiv:2407.14885"
PREFIX = "transformer."
INERT_TENSORS = (r"(rotary_emb|maybe_rotary)\.inv_freq$",)


def spec(c: Config) -> Spec:
    D, H = c.first("n_embed", "hidden_size"), c["num_attention_heads"]
    C = head_width(c, D, H)
    c.assume("max_position_embeddings", 2048)
    new = c.get("new_decoder_architecture", False)
    parallel = c.get("parallel_attn", True)
    count = c.get("num_ln_in_parallel_attn") or (2 if new else 1)
    if (new and not parallel) or (count == 2 and not new) or count not in (1, 2):
        raise InputError(
            f"{c.where}: num_ln_in_parallel_attn {count}, new_decoder_architecture {new} and "
            f"parallel_attn {parallel} contradict each other"
        )
    groups, one = c.get("num_kv_heads") or H, c.get("multi_query", True)
    c.require("apply_residual_connection_post_layernorm", (False,), False)
    c.inert("hidden_dropout", "attention_dropout", "ff_factor")
    biased = c.get("alibi", False)
    if biased:
        c.inert("rope_theta", "rope_scaling", "rope_parameters")
    bias = c.get("bias", False)
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=groups if new else 1 if one else H,
        C=C,
        F=c.get("ffn_hidden_size") or 4 * D,
        V=c["vocab_size"],
        context=c["max_position_embeddings"] if biased else rope.context_of(c),
        norms=frozenset({"attn_in"} if parallel and count == 1 else {"attn_in", "mlp_in"}),
        parallel=parallel,
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        qkv_bias=bias,
        out_bias=bias,
        ropes=() if biased else (rope.from_config(c, head_dim=C),),
        alibi=alibi.slopes(H, rounded=True) if biased else None,
        act=c.get("activation", "gelu"),
        gated=False,
        mlp_bias=bias,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    two = spec.parallel and "mlp_in" in spec.norms
    attn, mlp = ("ln_attn", "ln_mlp") if two else ("input_layernorm", "post_attention_layernorm")
    return {
        "embed": Row("transformer.word_embeddings.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.{attn}"),
        **grouped_qkv(f"{layer}.self_attention.query_key_value", spec.H, spec.G),
        **linear("blocks/attn/o", f"{layer}.self_attention.dense", OUT),
        **norm("blocks/mlp_in", f"{layer}.{mlp}"),
        **linear("blocks/mlp/up", f"{layer}.mlp.dense_h_to_4h", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.dense_4h_to_h", DOWN),
    }


FAMILIES = {"falcon": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
