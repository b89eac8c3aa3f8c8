"""Qwen3.5, dense and with experts: Qwen3-Next with its projections in separate tensors.

type               config and weights of                        MLPs
qwen3_5_text       the language model                           dense
qwen3_5            a model with vision; only its text is read   dense
qwen3_5_moe_text   the language model                           experts in every layer
qwen3_5_moe        a model with vision; only its text is read   experts in every layer
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama, qwen2_moe, qwen3_next
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, Row
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec

PAPER = "Qwen Team 2026, Qwen3.5; Yang et al. 2024, arXiv:2412.06464"
# The multi-token prediction layers are not part of the scored model.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^mtp\.", r"^(model\.)?visual\.")


def _body(c: Config, sizes: dict, mlp: str) -> dict:
    """All facts except those of the experts."""
    bias = c.get("attention_bias", False)
    c.require("attn_output_gate", (True,), True)
    c.inert("mamba_ssm_dtype", "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings")
    return dict(
        **sizes,
        kinds=tuple(Kind(mixer=mixer, mlp=mlp) for mixer in qwen3_next.mixers(c, sizes["L"])),
        delta=qwen3_next.delta(c),
        norm_offset=1.0,
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(bias="channel" if bias else ""),
        qk_norm=QkNorm("head", "rms", sizes["eps"], offset=1.0),
    )


def _sizes(c: Config, kv_heads: int) -> dict:
    rope_facts = dict(partial_key="partial_rotary_factor", partial=0.25)
    return llama.sizes(c, kv_heads=kv_heads, head_dim=256, rope_facts=rope_facts)


def _dense(c: Config) -> Spec:
    c.require("mlp_only_layers", ([], None), None)
    return Spec(**_body(c, _sizes(c, 4), "dense"))


def _with_experts(c: Config) -> Spec:
    c.assume("intermediate_size", 1)  # no layer is dense
    c.require("mlp_only_layers", ([], None), None)
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.get("num_experts", 256),
        k=c.get("num_experts_per_tok", 8),
        F=c.get("moe_intermediate_size", 512),
        renorm=True,
        shared_F=c.get("shared_expert_intermediate_size", 512),
        shared_gate=True,
    )
    return Spec(**_body(c, _sizes(c, 2), "experts"), experts=experts)


def _with_sight(text_spec):
    """The spec function for a config.json with the language model in text_config."""

    def spec(c: Config) -> Spec:
        text = c.child("text_config")
        if text is None:
            raise InputError(f"{c.where}: text_config is missing")
        made = text_spec(text)
        text.check_all_read()
        c.inert("vision_config", "image_token_id", "video_token_id")
        c.inert("vision_start_token_id", "vision_end_token_id", "language_model_only")
        tied = c.get("tie_word_embeddings", False)
        return dataclasses.replace(made, tied=tied)

    return spec


def apart(name: str, d: Delta) -> dict[str, Row]:
    """The rows of projections: queries, keys and values in one tensor, the others separate."""
    keys, total = d.G * d.K, 2 * d.G * d.K + d.H * d.C
    made = {}
    for part, layout, start, stop in (
        ("query", qwen3_next.KEYS, 0, keys),
        ("key", qwen3_next.KEYS, keys, 2 * keys),
        ("value", QUERY, 2 * keys, total),
    ):
        row = Row(f"{name}.in_proj_qkv.weight", layout, cut=(start, stop, total))
        made[f"blocks/attn/{part}/kernel"] = row
    made["blocks/attn/out_gate/kernel"] = Row(f"{name}.in_proj_z.weight", QUERY)
    made["blocks/attn/rate/kernel"] = Row(f"{name}.in_proj_b.weight", "h d -> d h")
    made["blocks/attn/step/kernel"] = Row(f"{name}.in_proj_a.weight", "h d -> d h")
    return made


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    layer = "model.layers.{l}"
    made = {
        **qwen2_moe.rows(spec),
        **qwen3_next.gated_attention(f"{layer}.self_attn"),
        **qwen3_next.delta_rows(f"{layer}.linear_attn", spec.delta),
        **apart(f"{layer}.linear_attn", spec.delta),
    }
    return {path: _nested(row) for path, row in made.items()}


def _nested(row: Row) -> Row:
    """The row with the tensor's name in a model with vision as an alternative."""
    if not row.name.startswith("model."):
        return row
    other = row.name.replace("model.", "model.language_model.", 1)
    otherwise = None if row.otherwise is None else _nested(row.otherwise)
    return dataclasses.replace(row, other_names=(other,), otherwise=otherwise)


def _family(spec, text_type: str = "") -> Family:
    return Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS, text_type=text_type)


FAMILIES = {
    "qwen3_5_text": _family(_dense),
    "qwen3_5": _family(_with_sight(_dense), "qwen3_5_text"),
    "qwen3_5_moe_text": _family(_with_experts),
    "qwen3_5_moe": _family(_with_sight(_with_experts), "qwen3_5_moe_text"),
}
