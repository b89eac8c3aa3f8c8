"""Nemotron-H: each layer is Mamba-2, attention without positions, an MLP, or experts."""

from __future__ import annotations

import dataclasses
import math

from jaxmap.architectures import deepseek_v3, llama, mamba2
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, ROUTER, UP, Row, linear, norm, split_qkv
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import StateSpace
from jaxmap.model.spec import Spec

PAPER = "NVIDIA 2025, arXiv:2504.03624"
PREFIX = "backbone."
INERT_TENSORS = (r"^mtp\.",)  # the multi-token prediction layers

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_KINDS = {
    "attention": Kind(mixer="attention", mlp="none"),
    "full_attention": Kind(mixer="attention", mlp="none"),
    "mamba": Kind(mixer="ssd", mlp="none"),
    "linear_attention": Kind(mixer="ssd", mlp="none"),
    "mlp": Kind(mixer="none", mlp="dense"),
    "moe": Kind(mixer="none", mlp="experts"),
}


def _kinds(c: Config) -> tuple[Kind, ...]:
    """The kind of each layer, from a list of words or a string of letters."""
    lists = c.get("layers_block_type"), c.get("layer_types"), c.get("hybrid_override_pattern")
    names = lists[0] or lists[1] or [_LETTERS.get(letter, letter) for letter in lists[2] or ""]
    if unknown := set(names) - set(_KINDS):
        raise InputError(f"{c.where}: unknown kinds of layers {sorted(map(str, unknown))}")
    if not names:
        raise InputError(f"{c.where}: layers_block_type or hybrid_override_pattern is missing")
    c.require("num_hidden_layers", (len(names), None), None)
    return tuple(_KINDS[name] for name in names)


def spec(c: Config) -> Spec:
    kinds = _kinds(c)
    c.assume("num_hidden_layers", len(kinds))
    c.assume("intermediate_size", 21504)
    facts = llama.shape(c, kv_heads=8, head_dim=c.get("attention_head_dim", 128))
    c.inert("hidden_act")
    bias = c.get("use_bias", False)
    c.require("attention_bias", (False,), False)
    c.require("sliding_window", (None,), None)
    c.require("residual_in_fp32", (False,), False)
    c.inert("chunk_size", "hidden_dropout", "mamba_proj_bias", "mamba_ssm_cache_dtype", "expand")
    c.inert("num_logits_to_keep", "use_mamba_kernels", "rescale_prenorm_residual")
    c.inert("mtp_layers_block_type", "mtp_hybrid_override_pattern", "num_nextn_predict_layers")
    c.inert("time_step_floor", "time_step_max", "time_step_rank", "norm_eps", "rms_norm_eps")
    # In transformers the lower bound of time steps is time_step_min, whatever the limit says.
    c.inert("time_step_limit")
    step_limit = (c.get("time_step_min", 0.001), math.inf)
    eps, heads = c.get("layer_norm_epsilon", 1e-5), c.get("mamba_num_heads", 128)
    experts = None
    if any(kind.mlp == "experts" for kind in kinds):
        c.require("moe_latent_size", (None,), None)
        experts = deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=1.0, shared=0)
        shared = c.get("moe_shared_expert_intermediate_size", 7688)
        act = c.get("mlp_hidden_act", "relu2")
        experts = dataclasses.replace(experts, gated=False, act=act, shared_F=shared)
    c.inert("moe_latent_size", "moe_shared_expert_intermediate_size", "moe_shared_expert_overlap")
    c.inert("moe_intermediate_size", "n_routed_experts", "n_shared_experts", "num_experts_per_tok")
    c.inert("n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor")
    c.inert("output_router_logits")
    return Spec(
        **{**facts, "act": c.get("mlp_hidden_act", "relu2")},
        context=c.get("max_position_embeddings", 4096),
        kinds=kinds,
        eps=eps,
        gated=False,
        mlp_bias=c.get("mlp_bias", False),
        ssm=StateSpace(
            inner=heads * c.get("mamba_head_dim", 64),
            state=c.get("ssm_state_size", 128),
            taps=c.get("conv_kernel", 4),
            heads=heads,
            groups=c.get("n_groups", 8),
            step_limit=step_limit,
            act=c.get("mamba_hidden_act", "silu"),
            conv_bias=c.get("use_conv_bias", True),
            in_bias=bias,
            out_bias=bias,
            norm="gated",
            eps=eps,
        ),
        experts=experts,
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    layer, mixer = "backbone.layers.{l}", "backbone.layers.{l}.mixer"
    experts = f"{mixer}.experts"
    every = {
        "embed": Row("backbone.embeddings.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "backbone.norm_f"),
        **norm("blocks/attn_in", f"{layer}.norm"),
        **norm("blocks/mlp_in", f"{layer}.norm"),
        **split_qkv(mixer),
        **linear("blocks/attn/o", f"{mixer}.o_proj", OUT),
        **mamba2.mixer_rows(mixer, spec.ssm),
        **linear("blocks/mlp/up", f"{mixer}.up_proj", UP),
        **linear("blocks/mlp/down", f"{mixer}.down_proj", DOWN),
        **linear("blocks/mlp/shared/up", f"{mixer}.shared_experts.up_proj", UP),
        **linear("blocks/mlp/shared/down", f"{mixer}.shared_experts.down_proj", DOWN),
        "blocks/mlp/router/kernel": Row(f"{mixer}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{mixer}.gate.e_score_correction_bias"),
    }
    for part, own, one, together in (
        ("expert_up", "up_proj", UP, "e f d -> e d f"),
        ("expert_down", "down_proj", DOWN, "e d f -> e f d"),
    ):
        every[f"blocks/mlp/{part}/kernel"] = Row(
            f"{experts}.{{e}}.{own}.weight", one, otherwise=Row(f"{experts}.{own}", together)
        )
    return {path: _renamed(row) for path, row in every.items()}


def _renamed(row: Row) -> Row:
    """The row with transformers' own name of the tensor as an alternative."""
    return dataclasses.replace(
        row,
        other_names=(row.name.replace("backbone.", "model."),),
        otherwise=row.otherwise and _renamed(row.otherwise),
    )


FAMILIES = {"nemotron_h": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
