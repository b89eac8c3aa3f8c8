"""Doge: scores of attention with a bias that values give their keys; a learnt residual stream.

The reference masks all but the `keep_window_size` keys with the largest biases, which no text that
fits the context has more of. The variant with experts (is_moe) is refused: its router mixes each
token's scores with those of later tokens.
"""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Shi et al. 2025, arXiv:2508.02124"


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c)
    if c.get("is_moe", False):
        raise InputError(
            f"{c.where}: is_moe = true: the router of Doge's experts mixes a token's scores with "
            "those of later tokens, so the model does not predict the next token"
        )
    keys = c.get("keep_window_size", 2048)
    if keys < sizes["context"]:
        raise InputError(
            f"{c.where}: keep_window_size = {keys} is less than max_position_embeddings = "
            f"{sizes['context']}: masks of values are not supported, only their biases"
        )
    c.inert("hidden_dropout", "num_experts", "num_experts_per_tok", "norm_topk_prob")
    c.inert("output_router_logits", "router_aux_loss_coef")
    bias = c.get("attention_bias", False)
    return Spec(
        **sizes,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        value_bias=True,
        residual_learnt=True,
        window=(c.get("sliding_window") or 0,) * sizes["L"],
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    attn = f"{layer}.self_attn"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{attn}.q_norm"),
        **norm("blocks/attn/k_norm", f"{attn}.k_norm"),
        "blocks/attn/value_bias/step/kernel": Row(f"{attn}.dt_proj.weight", "z (g c) -> g c z"),
        "blocks/attn/value_bias/step/bias": Row(f"{attn}.dt_proj.bias"),
        "blocks/attn/value_bias/rate": Row(f"{attn}.A"),
        "blocks/attn_stream": Row(f"{layer}.input_residual"),
        "blocks/mlp_stream": Row(f"{layer}.post_attention_residual"),
    }


FAMILIES = {"doge": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
