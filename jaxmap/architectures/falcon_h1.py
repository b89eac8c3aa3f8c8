"""Falcon-H1: attention and a Mamba-2 state space in parallel in each layer, factors from muP."""

from __future__ import annotations

from jaxmap.architectures import bamba, llama, mamba2
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Multipliers, Spec

PAPER = "Falcon LLM Team 2025, arXiv:2507.22448"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def _factors(c: Config, key: str, count: int) -> tuple[float, ...]:
    values = c.get(key) or (1.0,) * count
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if len(values) != count or not numbers:
        raise InputError(f"{c.where}: {key} = {values!r:.60}: must be {count} numbers")
    return tuple(map(float, values))


def _factor(c: Config, key: str) -> float:
    return c.get(key, 1.0)


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=8, eps=1e-5)
    bias = c.get("attention_bias", False)
    gate, mlp_out = _factors(c, "mlp_multipliers", 2)
    normed = c.get("mamba_rms_norm", False)
    before = c.get("mamba_norm_before_gate", True)
    c.require("attn_layer_indices", (None,), None)
    c.require("mamba_use_mlp", (True,), True)
    c.inert("num_logits_to_keep", "mlp_expansion_factor")
    return Spec(
        **sizes,
        kinds=(Kind(mixer="attention+ssd"),) * sizes["L"],
        ssm=bamba.state_space(
            c,
            inner=c.get("mamba_d_ssm", 1024),
            norm="" if not normed else "gate_last" if before else "gated",
            out_bias=c.get("projectors_bias", False),
        ),
        multipliers=Multipliers(
            attn_in=_factor(c, "attention_in_multiplier"),
            attn_out=_factor(c, "attention_out_multiplier"),
            ssm_in=_factor(c, "ssm_in_multiplier"),
            ssm_out=_factor(c, "ssm_out_multiplier"),
            ssm_parts=_factors(c, "ssm_multipliers", 5),
            gate=gate,
            mlp_out=mlp_out,
        ),
        # A factor on keys is the same as a factor on scores.
        scale=(sizes["C"] ** -0.5 * _factor(c, "key_multiplier"),) * sizes["L"],
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
        embed_scale=_factor(c, "embedding_multiplier"),
        logit_scale=_factor(c, "lm_head_multiplier"),
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    every = {**llama.rows(spec), **bamba.feed_forward()}
    beside = {
        path.replace("blocks/attn/", "blocks/attn/attention/"): row for path, row in every.items()
    }
    return {
        **beside,
        **mamba2.mixer_rows("model.layers.{l}.mamba", spec.ssm, path="blocks/attn/ssm"),
    }


FAMILIES = {"falcon_h1": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
