"""Llama 4: experts that read weighted inputs; layers without a rope see the whole text, others
pieces of it."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, ROUTER, UP, Row, linear, shared_expert
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm, Temperature
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Meta 2025, Llama 4"


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=500_000.0, pairs="adjacent")
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5, rope_facts=rope_facts)
    L, F = sizes["L"], sizes["F"]
    bias = c.get("attention_bias", False)
    c.require("attn_temperature_tuning", (True, False, 4), True)
    c.inert("for_llm_compressor", "output_router_logits", "router_aux_loss_coef")
    c.inert("router_jitter_noise")
    every = c.get("no_rope_layer_interval", 4)
    turned_L = c.get("no_rope_layers") or [int((i + 1) % every != 0) for i in range(L)]
    pieces = c.get("attention_chunk_size", 8192)
    types_L = c.get("layer_types") or [
        "chunked_attention" if turned and pieces else "full_attention" for turned in turned_L
    ]
    if len(turned_L) != L or len(types_L) != L:
        raise InputError(f"{c.where}: no_rope_layers and layer_types must have {L} entries")
    if unknown := set(types_L) - {"chunked_attention", "full_attention"}:
        raise InputError(f"{c.where}: unknown layer_types {sorted(map(str, unknown))}")
    step = c.get("interleave_moe_layer_step", 1)
    routed = c.get("moe_layers")
    routed = range(step - 1, L, step) if routed is None else routed
    temperature = Temperature(
        beta=c.get("attn_scale", 0.1),
        span=c.get("floor_scale", 8192),
        offset=1,
        unturned_only=True,
    )
    return Spec(
        **{**sizes, "F": c.get("intermediate_size_mlp", 16_384)},
        kinds=tuple(Kind(mlp="experts" if i in routed else "dense") for i in range(L)),
        experts=Experts(
            E=c.get("num_local_experts", 16),
            k=c.get("num_experts_per_tok", 1),
            F=F,
            score="sigmoid_of_best",
            scale_inputs=True,
            shared_F=F,
        ),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"], scale=False, after_rope=True, turned_only=True)
        if c.get("use_qk_norm", True)
        else None,
        rope_of=tuple(0 if turned else -1 for turned in turned_L),
        chunk=tuple(pieces if kind == "chunked_attention" else 0 for kind in types_L),
        temperature=temperature if c.get("attn_temperature_tuning", True) else None,
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.feed_forward"
    both = "e d (p f) -> p e d f"
    return {
        **llama.rows(spec),
        **linear("blocks/mlp/gate", f"{mlp}.gate_proj", UP),
        **linear("blocks/mlp/up", f"{mlp}.up_proj", UP),
        **linear("blocks/mlp/down", f"{mlp}.down_proj", DOWN),
        "blocks/mlp/router/kernel": Row(f"{mlp}.router.weight", ROUTER),
        "blocks/mlp/expert_gate/kernel": Row(f"{mlp}.experts.gate_up_proj", both, (0, 2)),
        "blocks/mlp/expert_up/kernel": Row(f"{mlp}.experts.gate_up_proj", both, (1, 2)),
        "blocks/mlp/expert_down/kernel": Row(f"{mlp}.experts.down_proj"),
        **shared_expert(f"{mlp}.shared_expert"),
    }


FAMILIES = {"llama4_text": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
