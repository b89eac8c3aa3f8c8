"""The settings of rotary positions in config.json, from a GGUF's metadata and tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxmap.checkpoint.gguf.metadata import Metadata
from jaxmap.errors import InputError

Values = dict[str, Any]


def head_dim(f: Metadata) -> Values:
    """The size of a head, all of whose channels are rotated."""
    f.require("rope.dimension_count", f.head_dim)
    return {"head_dim": f.head_dim}


def turned_share(key: str) -> Callable[[Metadata], Values]:
    """The share of a head's channels that are rotated, under a key of config.json."""

    def share(f: Metadata) -> Values:
        return {key: f.get("rope.dimension_count", f.head_dim) / f.head_dim}

    return share


def rope(f: Metadata) -> Values:
    """The scaling of RoPE: linear, YaRN, or a factor for each frequency."""
    kind = f.get("rope.scaling.type", "none")
    trained = f.get("rope.scaling.original_context_length")
    factor = f.get("rope.scaling.factor") or f.get("rope.scale_linear")
    if f.has("rope_freqs.weight"):
        factors = f.tensor("rope_freqs.weight")
        return {"rope_scaling": long_rope_factors(factors, factors, 1.0, f.need("context_length"))}
    if kind == "yarn":
        own: Values = {
            "attention_factor": f.get("rope.scaling.yarn_attn_factor"),
            "beta_fast": f.get("rope.scaling.yarn_beta_fast"),
            "beta_slow": f.get("rope.scaling.yarn_beta_slow"),
        }
        f.require("rope.scaling.yarn_ext_factor", 1.0)
        f.require("rope.scaling.attn_factor", 1.0)
        facts = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": trained}
        given = {key: value for key, value in own.items() if value is not None}
        return {"rope_scaling": {**facts, **given}}
    if kind not in ("none", "linear"):
        raise InputError(f"{f.where}: rope.scaling.type {kind!r} is not supported here")
    if factor in (None, 1.0):
        return {}
    return {"rope_scaling": {"rope_type": "linear", "factor": factor}}


def long_rope_factors(short: list[float], long: list[float], gain: float, trained: int) -> Values:
    """LongRoPE, whose factors for each frequency can express any scaling."""
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "attention_factor": gain,
        "original_max_position_embeddings": trained,
    }


def long_rope(f: Metadata) -> Values:
    """The LongRoPE of Phi-3; its factors are tensors of the file."""
    f.require("rope.scaling.type", "longrope", "none")
    gain = f.get("rope.scaling.attn_factor", 1.0)
    trained = f.get("rope.scaling.original_context_length", f.need("context_length"))
    names = ("rope_factors_short.weight", "rope_factors_long.weight")
    if not all(f.has(name) for name in names):
        return {}
    short, long = (f.tensor(name) for name in names)
    return {"rope_scaling": long_rope_factors(short, long, gain, trained)}
