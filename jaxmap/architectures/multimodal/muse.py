"""Muse Glimmer, given text alone: Gemma 2's norms, gated attention, embeddings of one length."""

from __future__ import annotations

from jaxmap.architectures import gemma2, llama, qwen3
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, Row, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.spec import Spec

PAPER = "Meta 2026, Muse Glimmer"


def spec(c: Config) -> Spec:
    facts = llama.sizes(c, kv_heads=2, head_dim=128, eps=1e-5, act_key="hidden_activation")
    L = facts["L"]
    c.require("attention_bias", (False,), False)  # the gate would lack the bias
    c.inert("hidden_act")
    near = sliding_layers(c, L, lambda i: (L - 1 - i) % 4 != 0)
    window = c.get("sliding_window", 2048)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: layers need one")
    # A base of 0 says that a layer has no rope; any other, that it has the one of all layers.
    bases = c.get("layer_rope_theta")
    bases = [(L - 1 - i) % 4 for i in range(L)] if bases is None else bases
    scale = facts["C"] ** -0.5 * c.get("qk_scale_factor", 3.87)
    return Spec(
        **facts,
        norms=gemma2.SANDWICH,
        norm_offset=1.0,
        final_offset=0.0,
        out_eps=c.get("post_norm_eps", 1e-8),
        out_gate=OutGate(),
        qk_norm=QkNorm("head", "rms", facts["eps"], scale=False),
        scale=(scale,) * L,
        rope_of=tuple(0 if base else -1 for base in bases),
        window=tuple(window if is_near else 0 for is_near in near),
        embed_norm=True,
        embed_norm_scale=False,
        logit_scale=c.get("output_multiplier", 0.19611613513818404),
        logit_softcap=c.get("final_logit_softcapping", 20.0),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **qwen3.rows(spec),
        "blocks/attn/gate/kernel": Row(f"{layer}.self_attn.gate_proj.weight", QUERY),
        **norm("blocks/attn_out", f"{layer}.post_attention_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.pre_feedforward_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_feedforward_layernorm"),
    }


FAMILY = Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)
