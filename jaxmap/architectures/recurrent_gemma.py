"""RecurrentGemma: Griffin's recurrent blocks and, every third layer, local attention.

Attention has a window and the recurrences have no positions, so texts may have any length.
"""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, QUERY, QUERY_BIAS, UP, Row, linear, norm, split_qkv
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Rglru
from jaxmap.model.spec import Spec

PAPER = "Botev et al. 2024, arXiv:2404.07839"
PREFIX = llama.PREFIX
INERT_TENSORS = ()


def _mixers(c: Config, L: int) -> tuple[str, ...]:
    pattern = c.get("block_types", ["recurrent", "recurrent", "attention"])
    if not pattern or (unknown := set(pattern) - {"recurrent", "attention"}):
        raise InputError(
            f"{c.where}: unknown block_types {sorted(unknown) if pattern else pattern}"
        )
    mixers = {"recurrent": "rglru", "attention": "attention"}
    return tuple(mixers[pattern[i % len(pattern)]] for i in range(L))


def spec(c: Config) -> Spec:
    D, H, L = c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"]
    C = head_width(c, D, H)
    c.require("head_dim", (C,), C)
    c.assume("max_position_embeddings", 8192)
    turn = rope.from_config(c, head_dim=C, partial_key="partial_rotary_factor", partial=0.5)
    mixers = _mixers(c, L)
    # layer_types and sliding_window are names for block_types and attention_window_size.
    c.inert("attention_dropout", "layer_types", "sliding_window")
    c.inert("w_init_variance_scale", "final_w_init_variance_scale")
    return Spec(
        L=L,
        D=D,
        H=H,
        G=c.get("num_key_value_heads") or H,
        C=C,
        F=c["intermediate_size"] // 2,
        V=c["vocab_size"],
        context=None,
        kinds=tuple(Kind(mixer=mixer) for mixer in mixers),
        rglru=Rglru(width=c.get("lru_width") or D, heads=H, taps=c.get("conv1d_width", 4)),
        norm_offset=1.0,
        eps=c.get("rms_norm_eps", 1e-6),
        qkv_bias=c.get("attention_bias", False),
        out_bias=True,
        ropes=(turn,),
        window=(c.get("attention_window_size", 2048),) * L,
        act=c.get("hidden_activation", "gelu_pytorch_tanh"),
        mlp_bias=True,
        # In transformers the factor is bfloat16.
        embed_scale=float(np.asarray(D**0.5, ml_dtypes.bfloat16)),
        tied=c.get("tie_word_embeddings", True),
        logit_softcap=c.get("logits_soft_cap", 30.0),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    mixer, unit = f"{layer}.temporal_block", f"{layer}.temporal_block.rg_lru"
    made = {
        **llama.rows(spec),
        **norm("final_norm", "model.final_norm"),
        **norm("blocks/attn_in", f"{layer}.temporal_pre_norm"),
        **norm("blocks/mlp_in", f"{layer}.channel_pre_norm"),
        **split_qkv(mixer),
        **linear("blocks/attn/o", f"{mixer}.o_proj", OUT),
        **linear("blocks/attn/branch_in", f"{mixer}.linear_x", QUERY),
        **linear("blocks/attn/branch_gate", f"{mixer}.linear_y", QUERY),
        **linear("blocks/attn/branch_out", f"{mixer}.linear_out", OUT),
        "blocks/attn/conv_kernel": Row(f"{mixer}.conv_1d.weight", "(h c) 1 w -> h c w"),
        "blocks/attn/conv_bias": Row(f"{mixer}.conv_1d.bias", QUERY_BIAS),
        "blocks/attn/decay": Row(f"{unit}.recurrent_param", QUERY_BIAS),
    }
    for gate, name in {"input_gate": "input_gate", "decay_gate": "recurrent_gate"}.items():
        made[f"blocks/attn/{gate}/kernel"] = Row(f"{unit}.{name}_weight")
        made[f"blocks/attn/{gate}/bias"] = Row(f"{unit}.{name}_bias")
    for branch in ("in", "gate"):
        made[f"blocks/attn/branch_{branch}/bias"] = dataclasses.replace(
            made[f"blocks/attn/branch_{branch}/bias"], layout=QUERY_BIAS
        )
    for part, layout in {"gate": UP, "up": UP, "down": DOWN}.items():
        made |= linear(f"blocks/mlp/{part}", f"{layer}.mlp_block.{part}_proj", layout)
    return made


FAMILIES = {"recurrent_gemma": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
