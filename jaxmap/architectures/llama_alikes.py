"""Llama under other type names: repositories with code of their own that computes the same.

  type         names of weights that differ           keys of config.json that differ
  Yi           ln1 and ln2 for the norms              -
  aquila       -                                      -
  internlm     -                                      bias; rotary {base, type}
  internlm3    -                                      qkv_bias and bias
  iquestcoder  -                                      defaults of heads and epsilon
  orion        norms are layer norms with biases      -
  xverse       -                                      -

Deepseek-LLM and the later Yi models have the type llama. Types that differ more have pages of
their own: baichuan, deci, exaone, internlm2, minicpm, qwen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec


def _no_biases(c: Config) -> None:
    for key in ("attention_bias", "mlp_bias"):
        c.require(key, (False,), False)


def _plain(c: Config) -> Spec:
    _no_biases(c)
    c.inert("max_tokenizer_truncation")  # XVERSE's tokenizer
    return Spec(**llama.sizes(c))


def _yi(c: Config) -> Spec:
    _no_biases(c)
    return Spec(**llama.sizes(c, rope_facts=dict(theta=5_000_000.0)))


def _yi_rows(spec: Spec) -> dict[str, Row]:
    rows = llama.rows(spec)
    for slot, name in {"attn_in": "ln1", "mlp_in": "ln2"}.items():
        key = f"blocks/{slot}/scale"
        other = f"model.layers.{{l}}.{name}.weight"
        rows[key] = dataclasses.replace(rows[key], other_names=(other,))
    return rows


def _internlm(c: Config) -> Spec:
    shape = llama.shape(c)
    bias = c.get("bias", True)
    theta = 10_000.0
    if rotary := c.child("rotary"):
        # "dynamic" changes texts beyond the trained length only, and those are cut at this length.
        rotary.require("type", ("origin", "dynamic"), "dynamic")
        theta = rotary.get("base", theta)
        rotary.inert("scaling_factor")
        rotary.check_all_read()
    return Spec(
        **shape,
        context=c["max_position_embeddings"],
        eps=c.get("rms_norm_eps", 1e-6),
        ropes=(rope.from_config(c, head_dim=shape["C"], theta=theta),),
        qkv_bias=bias,
        out_bias=bias,
    )


def _internlm3(c: Config) -> Spec:
    on_qkv = c.get("qkv_bias", c.get("attention_bias", False))
    bias = c.get("bias", c.get("mlp_bias", False))
    if on_qkv != bias:
        raise InputError(f"{c.where}: qkv_bias = {on_qkv} and bias = {bias} are not supported")
    sizes = llama.sizes(c, kv_heads=2, head_dim=128, eps=1e-5)
    return Spec(**sizes, qkv_bias=bias, out_bias=bias, mlp_bias=bias)


def _orion(c: Config) -> Spec:
    _no_biases(c)
    return Spec(**llama.sizes(c), norm="layer", norm_bias=True)


def _iquestcoder(c: Config) -> Spec:
    c.require("clip_qkv", (None,), None)
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5)
    bias = c.get("attention_bias", False)
    return Spec(**sizes, qkv_bias=bias, out_bias=bias, mlp_bias=c.get("mlp_bias", False))


def _like_llama(paper: str, spec: Callable[[Config], Spec], rows=llama.rows) -> Family:
    return Family(paper, spec, rows, llama.PREFIX, llama.INERT_TENSORS)


FAMILIES = {
    "Yi": _like_llama("Young et al. 2024, arXiv:2403.04652", _yi, _yi_rows),
    "aquila": _like_llama("Zhang et al. 2024, arXiv:2408.07410", _plain),
    "internlm": _like_llama(
        "InternLM Team 2023, InternLM: A Multilingual Language Model", _internlm
    ),
    "internlm3": _like_llama("InternLM Team 2025, InternLM3-8B", _internlm3),
    "iquestcoder": _like_llama("IQuest Lab 2026, IQuest-Coder-V1", _iquestcoder),
    "orion": _like_llama("Chen et al. 2024, arXiv:2401.12246", _orion),
    "xverse": _like_llama("XVERSE Technology 2023, XVERSE-13B", _plain),
}
