"""Language models that exist inside checkpoints of several modalities only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from jaxmap.architectures import hunyuan, hy_v4, llama, qwen3_moe
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.multimodal import (
    cosmos,
    deepseek_ocr,
    ernie4_5_vl,
    glm4v,
    glm5_next,
    kosmos,
    mllama,
    molmo2,
    muse,
    step3p5,
)
from jaxmap.architectures.registry import families
from jaxmap.architectures.rows import Row
from jaxmap.model.spec import Spec


def _qwen(kind: str, theta: float, eps: float, c: Config) -> Spec:
    """A Qwen text model with the defaults of its multimodal config."""
    c.assume("rope_theta", theta)
    c.assume("rms_norm_eps", eps)
    if kind == "qwen3_moe":
        c.require("norm_topk_prob", (True,), True)  # the reference does so whatever it says
        c.assume("norm_topk_prob", True)
        if c.peek("num_local_experts") is None:  # another name of the same key
            c.assume("num_experts", 60)
    return families()[kind].spec(c)


def _paddleocr(c: Config) -> Spec:
    """ERNIE 4.5, but with rope on both halves of each head."""
    bias = c.get("use_bias", False)
    rope_facts = dict(theta=500_000.0)
    sizes = llama.sizes(c, kv_heads=2, head_dim=128, eps=1e-5, tied=True, rope_facts=rope_facts)
    return Spec(**sizes, qkv_bias=bias, out_bias=bias, mlp_bias=bias)


def _docling(c: Config) -> Spec:
    """Granite with the factors of its class."""
    factors = dict(embedding=12.0, residual=0.263, attention=0.015625)
    for name, value in factors.items():
        c.assume(f"{name}_multiplier", value)
    c.assume("logits_scaling", 4.0)
    c.assume("num_key_value_heads", 4)
    c.assume("rms_norm_eps", 1e-5)
    return families()["granite"].spec(c)


def _emu3(c: Config) -> Spec:
    facts = llama.sizes(c, kv_heads=8, eps=1e-5, rope_facts=dict(theta=1e6))
    for key in ("attention_bias", "mlp_bias"):  # the reference has none whatever they say
        c.require(key, (False,), False)
    return Spec(**facts)


def _omni_experts(c: Config) -> Spec:
    """The language model of Qwen3-Omni, with the defaults of its config."""
    c.assume("rope_theta", 1e6)
    c.assume("norm_topk_prob", True)
    c.require("use_sliding_window", (False, None), False)  # the reference has none whatever it says
    return qwen3_moe.spec(c)


def _transposed(spec: Spec) -> dict[str, Row]:
    """Qwen3-MoE with its experts in two tensors, inputs first, or last as transformers 5 saves."""
    experts = "model.layers.{l}.mlp.experts"
    found = qwen3_moe.rows(spec)
    for i, part in enumerate(("gate", "up")):
        name = f"{experts}.gate_up_proj"
        last = Row(name, "e (p f) d -> p e d f", (i, 2))
        row = Row(name, "e d (p f) -> p e d f", (i, 2), otherwise=last)
        found[f"blocks/mlp/expert_{part}/kernel"] = row
    last = Row(f"{experts}.down_proj", "e d f -> e f d")
    found["blocks/mlp/expert_down/kernel"] = Row(f"{experts}.down_proj", otherwise=last)
    return found


def _text(kind: str, spec: Callable[[Config], Spec], rows=None) -> Family:
    base = families()[kind]
    return dataclasses.replace(base, spec=spec, rows=rows or base.rows)


def text_types() -> dict[str, Family]:
    """The page of each type."""
    return {
        "step3p5": step3p5.FAMILY,
        "qwen2_vl_text": _text("qwen2", partial(_qwen, "qwen2", 1e6, 1e-5)),
        "qwen2_5_vl_text": _text("qwen2", partial(_qwen, "qwen2", 1e6, 1e-5)),
        "qwen2_5_omni_text": _text("qwen2", partial(_qwen, "qwen2", 1e6, 1e-6)),
        "qwen3_asr_text": _text("qwen3", partial(_qwen, "qwen3", 5e6, 1e-6)),
        "qwen3_omni_moe_text": _text("qwen3_moe", _omni_experts),
        "qwen3_vl_text": _text("qwen3", partial(_qwen, "qwen3", 5e6, 1e-6)),
        "qwen3_vl_moe_text": _text(
            "qwen3_moe", partial(_qwen, "qwen3_moe", 5e6, 1e-6), _transposed
        ),
        "emu3_text_model": _text("llama", _emu3),
        "ernie4_5_vl_moe_text": ernie4_5_vl.FAMILY,
        "glm5_next_text": glm5_next.FAMILY,
        "hy_v4_vl_text": hy_v4.VL_TEXT,
        "hunyuan_vl_text": _text("hunyuan_v1_dense", hunyuan.dense),
        "mllama_text_model": mllama.FAMILY,
        "molmo2_text": molmo2.FAMILY,
        "paddleocr_vl_text": _text("llama", _paddleocr),
        "cosmos3_edge_text": cosmos.FAMILY,
        "granite4_vision_text": _text("granite", families()["granite"].spec),
        "granite_docling_text": _text("granite", _docling),
        "muse_glimmer_text": muse.FAMILY,
        **deepseek_ocr.FAMILIES,
        **glm4v.FAMILIES,
        **kosmos.FAMILIES,
    }
