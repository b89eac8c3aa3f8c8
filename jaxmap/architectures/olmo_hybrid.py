"""OLMo Hybrid: OLMo 3's attention in every fourth layer, the gated delta rule in the others.

Layers with the delta rule have norms before their branches, the others after them. The released
models have no rope.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama, olmo2, qwen3_next, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec

PAPER = "Ai2 2026, Olmo Hybrid"
_BEFORE, _AFTER = frozenset({"attn_in", "mlp_in"}), olmo2.NORMS


def _kinds(c: Config, L: int) -> tuple[Kind, ...]:
    mixers = list(qwen3_next.mixers(c, L))
    if "attention" not in mixers:  # as the reference has it for fewer layers than four
        mixers[-1] = "attention"
    return tuple(
        Kind(mixer=mixer, bare=_BEFORE if mixer == "attention" else _AFTER) for mixer in mixers
    )


def spec(c: Config) -> Spec:
    facts = llama.shape(c)
    L, D, H, C = facts["L"], facts["D"], facts["H"], facts["C"]
    eps = c.get("rms_norm_eps", 1e-6)
    bias = c.get("attention_bias", False)
    p = rope.described(c)
    # No rope is a base of null; without the key the reference takes 10,000.
    turned = p is None or "rope_theta" not in p or p.peek("rope_theta") is not None
    c.inert("rope_parameters", "rope_scaling", "rope_theta")
    heads = c.get("linear_num_key_heads") or H
    K = c.get("linear_key_head_dim") or int(0.75 * D / heads)
    negative = c.get("linear_allow_neg_eigval", True)
    c.inert("linear_a_log_min", "linear_a_log_max", "linear_use_gate")
    c.inert("linear_dt_min", "linear_dt_max", "linear_dt_init_floor")
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        kinds=_kinds(c, L),
        norms=_BEFORE | _AFTER,
        eps=eps,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("all", "rms", eps),
        ropes=(rope.from_config(c, head_dim=C),) if turned else (),
        delta=Delta(
            H=c.get("linear_num_value_heads") or H,
            G=heads,
            K=K,
            C=c.get("linear_value_head_dim") or 2 * K,
            taps=c.get("linear_conv_kernel_dim", 4),
            rate=2.0 if negative else 1.0,
            eps=1e-5,
        ),
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    d, layer = spec.delta, "model.layers.{l}"
    mixer = f"{layer}.linear_attn"
    parts = {
        "query": ("q", qwen3_next.KEYS),
        "key": ("k", qwen3_next.KEYS),
        "value": ("v", QUERY),
        "out_gate": ("g", QUERY),
        "rate": ("b", "h d -> d h"),
        "step": ("a", "h d -> d h"),
    }
    found = {
        **olmo2.rows(spec),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        **qwen3_next.delta_rows(mixer, d),
        **{
            f"blocks/attn/{path}/kernel": Row(f"{mixer}.{letter}_proj.weight", layout)
            for path, (letter, layout) in parts.items()
        },
        "blocks/attn/norm/scale": Row(f"{mixer}.o_norm.weight"),
        "blocks/attn/out/kernel": Row(f"{mixer}.o_proj.weight", "d (h c) -> h c d"),
    }
    for letter in "qkv":  # one tensor each in Ai2's files
        path = f"blocks/attn/conv_{letter}"
        own = Row(f"{mixer}.{letter}_conv1d.weight", "(h c) 1 w -> h c w")
        found[path] = dataclasses.replace(found[path], otherwise=own)
    other = {
        "attn_in": "attention_layer_norm",
        "mlp_in": "feedforward_layer_norm",
        "attn_out": "feedforward_layer_norm",  # transformers writes this for both
    }
    for slot, name in other.items():
        path = f"blocks/{slot}/scale"
        found[path] = dataclasses.replace(found[path], other_names=(f"{layer}.{name}.weight",))
    return found


FAMILIES = {"olmo_hybrid": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
