"""LFM3: gated short convolutions, and attention with a gate per head, partly with a window."""

from __future__ import annotations

from jaxmap.architectures import gemma2, lfm2, llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import OUT, Row, linear, norm, output_gate, renamed
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import ShortConv
from jaxmap.model.spec import Spec

PAPER = "Liquid AI 2026, LFM3"
_TYPES = ("conv", "full_attention", "sliding_attention")
_ROPES = {
    "full_attention": dict(
        rope_type="proportional", rope_theta=1_000_000.0, partial_rotary_factor=0.5
    ),
    "sliding_attention": dict(rope_type="default", rope_theta=10_000.0),
}


def _types(c: Config, L: int) -> list[str]:
    """The type of each layer: from layer_types, else two of four are convolutions."""
    types = c.get("layer_types")
    if types is None:
        attention = {0: "sliding_attention", 2: "full_attention"}
        types = [attention.get(i % 4, "conv") if i else "conv" for i in range(L)]
    if len(types) != L or set(types) - set(_TYPES):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_TYPES)}")
    return types


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=4, head_dim=128, tied=True)
    C = facts["C"]
    types = _types(c, facts["L"])
    window = c.get("sliding_window", 256)
    if "sliding_attention" in types and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    c.assume("rope_parameters", _ROPES)
    turning = [kind for kind in _TYPES[1:] if kind in types]
    bias, eps = c.get("attention_bias", False), c.get("norm_eps", 1e-5)
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        eps=eps,
        kinds=tuple(Kind(mixer="short_conv" if t == "conv" else "attention") for t in types),
        norms=gemma2.SANDWICH if c.get("use_sandwich_norm", True) else Spec.norms,
        short_conv=ShortConv(c.get("conv_L_cache", 7), bias=c.get("conv_bias", False)),
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(per="head") if c.get("use_attention_gate", True) else None,
        qk_norm=QkNorm("head", "rms", eps),
        ropes=tuple(rope.from_config(c, head_dim=C, layer_type=kind) for kind in turning),
        rope_of=tuple(turning.index(t) if t in turning else -1 for t in types),
        window=tuple(window if t == "sliding_attention" else 0 for t in types),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    attn = f"{layer}.self_attn"
    gate = output_gate("blocks/attn/gate", f"{attn}.gate_proj", spec.out_gate)
    return {
        **lfm2.rows(spec),
        **linear("blocks/attn/o", f"{attn}.o_proj", OUT),
        **norm("blocks/attn/q_norm", f"{attn}.q_norm"),
        **norm("blocks/attn/k_norm", f"{attn}.k_norm"),
        **norm("blocks/attn_out", f"{layer}.post_operator_norm"),
        **norm("blocks/mlp_out", f"{layer}.post_ffn_norm"),
        **renamed(gate, "gate_proj", "g_proj"),
    }


FAMILIES = {"lfm3": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
