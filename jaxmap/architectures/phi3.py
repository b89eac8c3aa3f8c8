"""Phi-3 and Phi-4: Llama with fused projections, partly rotated heads, LongRoPE."""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, cut_gate_up, cut_qkv
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Abdin et al. 2024, arXiv:2404.14219"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    scaling = rope.described(c)
    kind = (scaling.get("rope_type") or scaling.get("type") or "default") if scaling else "default"
    if kind not in ("default", "longrope", "su"):
        raise InputError(f"{c.where}: rope_type {kind!r} is unknown in this family, not longrope")
    sizes = llama.sizes(c, eps=1e-5, rope_facts=dict(partial_key="partial_rotary_factor"))
    for key in ("attention_bias", "lm_head_bias", "mlp_bias"):
        c.require(key, (False,), False)
    c.require("interpolate_factor", (1,), 1)
    c.require("full_attn_mod", (1,), 1)
    c.inert("embd_pdrop", "resid_pdrop")
    return Spec(**sizes, window=(c.get("sliding_window") or 0,) * sizes["L"])


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **llama.rows(spec),
        **cut_qkv(f"{layer}.self_attn.qkv_proj", spec),
        **cut_gate_up(f"{layer}.mlp.gate_up_proj", spec),
    }


FAMILIES = {"phi3": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
