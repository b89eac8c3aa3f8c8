"""MiniMax-M2: norms over all queries and all keys, sigmoid scores with a correction."""

from __future__ import annotations

from jaxmap.architectures import llama, mixtral
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "MiniMax 2025, MiniMax-M2"


def spec(c: Config) -> Spec:
    partial = 1.0
    if (turned := c.get("rotary_dim")) is not None:
        partial = turned / c.get("head_dim", 128)
    rope_facts = dict(theta=5e6, partial_key="partial_rotary_factor", partial=partial)
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, rope_facts=rope_facts)
    c.require("scoring_func", ("sigmoid",), "sigmoid")
    c.require("use_qk_norm", (True,), True)
    c.require("qk_norm_type", ("per_layer",), "per_layer")
    c.require("use_routing_bias", (True,), True)
    c.require("shared_intermediate_size", (0, None), 0)
    c.require("sliding_window", (None,), None)
    attention = c.get("attn_type_list") or [1]
    if set(attention) != {1}:
        raise ValueError(f"attn_type_list has layers without softmax attention: {attention}")
    # Layers that predict further tokens; numbers that only the first MiniMax has.
    c.inert("use_mtp", "num_mtp_modules", "mtp_transformer_layers", "mlp_intermediate_size")
    c.inert("layernorm_full_attention_beta", "layernorm_linear_attention_beta")
    c.inert("layernorm_mlp_beta", "shared_moe_mode", "max_model_len")
    c.inert("output_router_logits", "router_aux_loss_coef", "router_jitter_noise")
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=c.get("num_experts_per_tok", 8),
        F=sizes["F"],
        score="sigmoid",
        renorm=True,
        correction=True,
    )
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * sizes["L"],
        experts=experts,
        qk_norm=QkNorm("all", "rms", sizes["eps"]),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    bias = "e_score_correction_bias"
    return {
        **mixtral.rows(spec),
        "blocks/mlp/correction": Row(
            f"{layer}.block_sparse_moe.{bias}", other_names=(f"{layer}.mlp.{bias}",)
        ),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_norm"),
    }


INERT_TENSORS = (*llama.INERT_TENSORS, r"^model\.mtp")

FAMILIES = {"minimax_m2": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
