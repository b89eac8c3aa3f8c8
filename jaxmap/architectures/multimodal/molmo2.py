"""Molmo 2, given text alone: Qwen3 or OLMo under names of its own.

The embedding has rows for the placeholders of pictures after the vocabulary's; the head has none.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama, qwen3, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, Row, cut_gate_up, cut_qkv, embedding, linear, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Clark et al. 2026, arXiv:2601.10611"
PREFIX = "model."
_INERT = (*llama.INERT_TENSORS, r"wte\.new_embedding$")


def spec(c: Config) -> Spec:
    c.assume("rms_norm_eps", c.get("layer_norm_eps", 1e-6))
    sizes = llama.sizes(c, kv_heads=8, head_dim=128)
    L = sizes["L"]
    scaled = c.get("rope_scaling_layers")
    facts: dict = {}
    if scaled is not None and set(scaled) != set(range(L)):
        p = rope.described(c)
        theta = (p and p.get("rope_theta")) or c.get("rope_theta", 10_000.0)
        facts["rope_of"] = tuple(0 if i in scaled else 1 for i in range(L))
        sizes["ropes"] = (*sizes["ropes"], rope.plain(sizes["C"], theta=theta))
    over = {"qwen3": "head", "olmo": "all"}
    c.require("qk_norm_type", tuple(over), "qwen3")
    c.require("use_qk_norm", (True,), True)
    c.inert("embedding_dropout", "residual_dropout", "layer_norm_eps")
    after = c.get("norm_after", False)
    return Spec(
        **sizes,
        **facts,
        embed_V=sizes["V"] + c.get("additional_vocab_size", 128),
        norms=frozenset({"attn_out", "mlp_out"} if after else {"attn_in", "mlp_in"}),
        qkv_bias=c.first("attention_bias", "qkv_bias") if _biased(c) else False,
        qk_norm=QkNorm(over[c.get("qk_norm_type", "qwen3")], "rms", sizes["eps"]),
    )


def _biased(c: Config) -> bool:
    return c.peek("attention_bias") is not None or c.peek("qkv_bias") is not None


def rows(spec: Spec) -> dict[str, Row]:
    made = _rows("model.transformer.blocks.{l}", spec)
    native = _native(spec)
    return {
        path: dataclasses.replace(made[path], otherwise=row) if path in made else row
        for path, row in native.items()
    }


def _native(spec: Spec) -> dict[str, Row]:
    """The rows with the names of transformers."""
    layer = "model.layers.{l}"
    return {
        **qwen3.rows(spec),
        "embed": embedding("model.embed_tokens.weight", spec),
        **norm("blocks/attn_out", f"{layer}.input_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_attention_layernorm"),
    }


def _rows(layer: str, spec: Spec) -> dict[str, Row]:
    """The rows with the names of released files; the gate comes after the up projection."""
    first, second = cut_gate_up(f"{layer}.mlp.ff_proj", spec).values()
    made = {
        "embed": Row("model.transformer.wte.embedding"),
        **norm("final_norm", "model.transformer.ln_f"),
        **cut_qkv(f"{layer}.self_attn.att_proj", spec),
        **linear("blocks/attn/o", f"{layer}.self_attn.attn_out", OUT),
        "blocks/mlp/up/kernel": first,
        "blocks/mlp/gate/kernel": second,
        **linear("blocks/mlp/down", f"{layer}.mlp.ff_out", DOWN),
    }
    for part in ("q_norm", "k_norm"):
        made |= norm(f"blocks/attn/{part}", f"{layer}.self_attn.{part}")
    for slot, name in (("attn", "attn_norm"), ("mlp", "ff_norm")):
        for when in ("in", "out"):
            made |= norm(f"blocks/{slot}_{when}", f"{layer}.{name}")
    return made


FAMILY = Family(PAPER, spec, rows, PREFIX, _INERT)
