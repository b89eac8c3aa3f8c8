"""Jamba: Mamba layers, attention without positions in a few, experts in every other MLP."""

from __future__ import annotations

from jaxmap.architectures import bamba, llama, mamba
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import StateSpace
from jaxmap.model.spec import Spec

PAPER = "Lieber et al. 2024, arXiv:2403.19887"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def _state_space(c: Config) -> StateSpace:
    D, bias = c["hidden_size"], c.get("mamba_proj_bias", False)
    c.require("mamba_inner_layernorms", (True,), True)
    c.inert("use_mamba_kernels", "use_associative_scan", "use_mambapy")
    return StateSpace(
        inner=int(c.get("mamba_expand", 2) * D),
        state=c.get("mamba_d_state", 16),
        taps=c.get("mamba_d_conv", 4),
        rank=mamba.rank_of(c, "mamba_dt_rank", D),
        act=c.get("hidden_act", "silu"),
        conv_bias=c.get("mamba_conv_bias", True),
        in_bias=bias,
        out_bias=bias,
        norm="scaled",
        eps=c.get("rms_norm_eps", 1e-6),
    )


def spec(c: Config) -> Spec:
    shape = llama.shape(c, kv_heads=8)
    c.require("sliding_window", (None,), None)
    c.inert("num_logits_to_keep", "output_router_logits", "router_aux_loss_coef", "n_ctx")
    c.inert("calc_logits_for_entire_prompt")
    E, k = c.get("num_experts", 16), c.get("num_experts_per_tok", 2)
    attention = c.get("attn_layer_period", 8), c.get("attn_layer_offset", 4)
    experts = c.get("expert_layer_period", 2), c.get("expert_layer_offset", 1)

    def chosen(layer: int, every: tuple[int, int]) -> bool:
        period, offset = every
        return layer % period == offset

    return Spec(
        **shape,
        context=c["max_position_embeddings"],
        eps=c.get("rms_norm_eps", 1e-6),
        kinds=tuple(
            Kind(
                mixer="attention" if chosen(i, attention) else "selective_scan",
                mlp="experts" if E > 1 and chosen(i, experts) else "dense",
            )
            for i in range(shape["L"])
        ),
        ssm=_state_space(c),
        experts=Experts(E=E, k=k, F=shape["F"]) if E > 1 else None,
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    mlp = "model.layers.{l}.feed_forward"
    return {
        **llama.rows(spec),
        **bamba.feed_forward(),
        **mamba.mixer_rows("model.layers.{l}.mamba", spec.ssm),
        "blocks/mlp/router/kernel": Row(f"{mlp}.router.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
    }


FAMILIES = {"jamba": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
