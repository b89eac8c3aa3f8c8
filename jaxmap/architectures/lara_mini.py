"""Lara Mini: Qwen3.5's delta rule, attention with and without a window, and experts in all layers.

Only layers with a window have a rope. Its attention has no gate and its norms no offset.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import flint, llama, qwen3, qwen3_5, qwen3_next
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, Row
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec

PAPER = "Translated 2026, Lara 4 Mini; Yang et al. 2024, arXiv:2412.06464"
_NEAR = "sliding_attention"
_PERIOD = ("linear_attention", _NEAR, "linear_attention", "full_attention", _NEAR)


def _layer_types(c: Config, L: int) -> list[str]:
    kinds = c.get("layer_types")
    if kinds is None:
        return [_PERIOD[i % len(_PERIOD)] for i in range(L)]
    if len(kinds) != L or set(kinds) - set(_PERIOD):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(set(_PERIOD))}")
    return kinds


def spec(c: Config) -> Spec:
    c.assume("intermediate_size", 1)  # no layer is dense
    sizes = llama.sizes(c, kv_heads=4, head_dim=128, tied=True)
    kinds = _layer_types(c, sizes["L"])
    bias = c.get("attention_bias", False)
    mixers = ("delta" if kind == "linear_attention" else "attention" for kind in kinds)
    return Spec(
        **sizes,
        kinds=tuple(Kind(mixer=mixer, mlp="experts") for mixer in mixers),
        experts=flint.experts(c, E=128, k=4, shared_F=512, score="softmax"),
        delta=dataclasses.replace(
            qwen3_next.delta(c),
            H=c.get("linear_num_value_heads", 16),
            G=c.get("linear_num_key_heads", 8),
        ),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        **flint.windows(c, tuple(kind == _NEAR for kind in kinds), 512),
    )


def _projections(name: str, d: Delta) -> dict[str, Row]:
    """The projections, which files have in one tensor: queries, keys, values, gates, rates, steps.

    transformers has them in four, which are the rows here because copies quantise each by itself.
    """
    apart = qwen3_5.apart(name, d)
    keys, values = d.G * d.K, d.H * d.C
    total = 2 * keys + 2 * values + 2 * d.H
    heads, start, made = "h d -> d h", 0, {}
    for part, layout, size in (
        ("query", qwen3_next.KEYS, keys),
        ("key", qwen3_next.KEYS, keys),
        ("value", QUERY, values),
        ("out_gate", QUERY, values),
        ("rate", heads, d.H),
        ("step", heads, d.H),
    ):
        path, cut = f"blocks/attn/{part}/kernel", (start, start + size, total)
        joined = Row(f"{name}.in_proj.weight", layout, cut=cut)
        made[path] = dataclasses.replace(apart[path], otherwise=joined)
        start += size
    return made


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    mixer = "model.layers.{l}.linear_attn"
    norm = Row(f"{mixer}.out_norm.weight", other_names=(f"{mixer}.norm.weight",))
    return {
        **qwen3.rows(spec),
        **flint.expert_rows(),
        **qwen3_next.delta_rows(mixer, spec.delta),
        **_projections(mixer, spec.delta),
        "blocks/attn/norm/scale": norm,
    }


FAMILIES = {"lara_mini": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
