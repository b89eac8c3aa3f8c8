"""MiMo-V2-Flash: narrow values, windows with more key/value heads and sinks, DeepSeek-V3's experts.

config.json has the spelling of transformers or that of Xiaomi's own code, whose window leaves out
the token itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxmap.architectures import deepseek_v3, exaone_moe, llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Xiaomi LLM-Core Team 2026, arXiv:2601.02780"
# Layers that predict further tokens.
INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.mtp\.")


def _pattern(c: Config, key: str, L: int) -> list[int] | None:
    """A list of L times 0 or 1, as Xiaomi's code has it; None if it is absent."""
    value = c.peek(key)
    c.inert(key)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != L or set(value) - {0, 1}:
        raise InputError(f"{c.where}: {key} must be a list of {L} times 0 or 1")
    return value


def _mlps(c: Config, L: int) -> tuple[Kind, ...]:
    routed = _pattern(c, "moe_layer_freq", L)
    if routed is not None:
        types = ["sparse" if one else "dense" for one in routed]
        c.assume("mlp_layer_types", types)
    return exaone_moe.mlps(c, L, first=1)


def _window(c: Config) -> int:
    """Tokens that a layer with a window sees, the token itself included."""
    before = c.get("sliding_window_size")
    window = c.get("sliding_window", 129) or 0
    return window if before is None else before + 1


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=4, head_dim=192)
    L, G, C = facts["L"], facts["G"], facts["C"]
    value_C = c.get("v_head_dim", 128)
    # transformers has one key for the sizes of all layers; Xiaomi's code has these as well.
    c.require("swa_num_attention_heads", (facts["H"], None), None)
    c.require("swa_num_key_value_heads", (2 * G, None), None)
    c.require("swa_head_dim", (C, None), None)
    c.require("swa_v_head_dim", (value_C, None), None)
    c.require("add_full_attention_sink_bias", (False, None), None)
    c.require("add_swa_attention_sink_bias", (True, None), None)
    c.inert("attention_chunk_size", "hybrid_block_size", "attention_projection_layout")
    pattern = _pattern(c, "hybrid_layer_pattern", L)
    near = sliding_layers(
        c, L, lambda i: bool(pattern[i]) if pattern else i != 0 and (i + 1) % 6 != 0
    )
    if c.peek("layernorm_epsilon") is None:
        c.assume("rms_norm_eps", 1e-5)
    if c.peek("routed_scaling_factor") is None:
        c.assume("routed_scaling_factor", 1.0)
    kinds = (
        dataclasses.replace(kind, G=2 * G if is_near else 0, sinks=is_near)
        for kind, is_near in zip(_mlps(c, L), near, strict=True)
    )
    window = _window(c)
    share: dict[str, Any] = dict(partial_key="partial_rotary_factor", partial=0.334)
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        eps=c.first("rms_norm_eps", "layernorm_epsilon"),
        kinds=tuple(kinds),
        experts=deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=1.0, shared=0),
        qkv_bias=c.get("attention_bias", False),
        value_C=value_C,
        value_scale=c.get("attention_value_scale", 0.707) or 1.0,
        sinks=True,
        ropes=(
            rope.from_config(c, head_dim=C, theta=5e6, layer_type="full_attention", **share),
            rope.from_config(
                c, head_dim=C, theta_key="swa_rope_theta", layer_type="sliding_attention", **share
            ),
        ),
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


def rows(spec: Spec) -> dict[str, Row]:
    attn, mlp = "model.layers.{l}.self_attn", "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        "blocks/attn/sink": Row(f"{attn}.sinks", other_names=(f"{attn}.attention_sink_bias",)),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{mlp}.gate.e_score_correction_bias"),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
    }


FAMILIES = {"mimo_v2_flash": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
