"""Granite with windows, sinks, and a rope of its own in every layer."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxmap.architectures import granite, granitemoeshared, llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Granite Team 2026, Granite Swash"


def _windowed(c: Config, spec: Spec) -> Spec:
    L = spec.L
    near_L = sliding_layers(c, L, lambda i: i % 4 != 0)
    window = c.get("sliding_window", 128) or 0
    theta_L = c.get("layer_rope_theta")
    found: dict[str, Any] = dict(sinks=True, window=tuple(window if near else 0 for near in near_L))
    if theta_L is None:
        return dataclasses.replace(spec, **found)
    if len(theta_L) != L:
        raise InputError(f"{c.where}: {len(theta_L)} entries of layer_rope_theta for {L} layers")
    p = rope.described(c)
    if p is not None and (p.get("rope_type") or p.get("type") or "default") != "default":
        raise InputError(f"{c.where}: layer_rope_theta beside a scaling of ropes is not supported")
    thetas = sorted({theta for theta in theta_L if theta})
    return dataclasses.replace(
        spec,
        **found,
        ropes=tuple(rope.plain(spec.C, theta=theta) for theta in thetas),
        rope_of=tuple(thetas.index(theta) if theta else -1 for theta in theta_L),
    )


def dense(c: Config) -> Spec:
    """The spec of a model without experts; raises InputError for unsupported settings."""
    c.assume("rms_norm_eps", 1e-5)
    c.assume("num_key_value_heads", 4)
    c.assume("tie_word_embeddings", True)
    return _windowed(c, granite.spec(c))


def moe(c: Config) -> Spec:
    """The spec of a model with experts; raises InputError for unsupported settings."""
    return _windowed(c, granitemoeshared.spec(c))


_SINK = {"blocks/attn/sink": Row("model.layers.{l}.self_attn.sinks")}


def _dense_rows(spec: Spec) -> dict[str, Row]:
    return {**granite.rows(spec), **_SINK}


def _moe_rows(spec: Spec) -> dict[str, Row]:
    return {**granitemoeshared.rows(spec), **_SINK}


FAMILIES = {
    "granite_swa": Family(PAPER, dense, _dense_rows, llama.PREFIX, llama.INERT_TENSORS),
    "granitemoe_swa": Family(PAPER, moe, _moe_rows, llama.PREFIX, llama.INERT_TENSORS),
}
