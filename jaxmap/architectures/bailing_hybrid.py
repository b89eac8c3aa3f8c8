"""Ling 3: Kimi delta attention with a bounded decay, and in every sixth layer latent attention.

Latent attention has a gate per head. The experts are those of DeepSeek-V3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxmap.architectures import deepseek_v2, exaone_moe, kimi_linear, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import OUT, QUERY, Row, linear, output_gate
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec

PAPER = "Ling Team 2026, Ling 3; Kimi Team 2025, arXiv:2510.26692"

_MIXERS = {"full_attention": "latent", "linear_attention": "kimi_delta"}


def _mixers(c: Config, L: int) -> list[str]:
    """The mixer of each layer: from layer_types, else latent in the last layer of each group."""
    types, size = c.get("layer_types"), c.get("layer_group_size", 6)
    if types is None:
        types = ["linear_attention" if (i + 1) % size else "full_attention" for i in range(L)]
    if len(types) != L or set(types) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    return [_MIXERS[kind] for kind in types]


def _delta(c: Config, H: int) -> Delta:
    """The facts of Kimi delta attention.

    transformers writes linear_head_dim into the files that it saves, and the rotated channels of
    latent attention as head_dim.
    """
    width = c.get("head_dim", 128)
    width = c.get("linear_head_dim", width)
    heads = c.get("linear_num_heads", H)
    taps = c.get("short_conv_kernel_size", 4)
    bound = c.get("kda_lower_bound", -5.0)
    bounded = c.get("kda_safe_gate", True)
    if bounded and not bound < 0:
        raise InputError(f"{c.where}: kda_lower_bound = {bound!r}: must be below 0")
    return Delta(
        H=heads,
        G=heads,
        K=width,
        C=width,
        taps=c.get("linear_conv_kernel_dim", taps),
        low_rank=False,
        least_log_decay=bound if bounded else 0.0,
    )


def _first(c: Config, default: int, *keys: str) -> int:
    """The value of a fact with several names; the default where none is present."""
    return c.first(*keys) if any(c.peek(key) is not None for key in keys) else default


def _experts(c: Config) -> Experts:
    c.inert("output_router_logits", "num_nextn_predict_layers", "num_mtp_layers")
    c.inert("mtp_loss_scaling_factor")
    F = c.get("moe_intermediate_size", 768)
    return Experts(
        E=_first(c, 512, "num_experts", "num_local_experts"),
        k=_first(c, 8, "num_experts_per_token", "num_experts_per_tok"),
        F=F,
        score="sigmoid",
        renorm=bool(_first(c, 1, "moe_renormalize", "norm_topk_prob")),
        added=1e-20,
        scale=c.get("routed_scaling_factor", 2.5),
        groups=_first(c, 8, "num_expert_group", "n_group"),
        groups_kept=c.get("topk_group", 4),
        group_score="top2",
        correction=True,
        shared_F=F * _first(c, 1, "num_shared_experts", "n_shared_experts"),
    )


def spec(c: Config) -> Spec:
    context = _first(c, 262_144, "model_max_length", "max_position_embeddings")
    assumed = dict(qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, rope_theta=6e6)
    for key, value in {**assumed, "max_position_embeddings": context}.items():
        c.assume(key, value)
    delta = _delta(c, c["num_attention_heads"])
    facts = deepseek_v2.latent(c, interleaved=True)
    latent = dataclasses.replace(facts["latent"], q_rank=c.get("q_lora_rank") or 0)
    L = facts["L"]
    return Spec(
        **{**facts, "latent": latent},
        kinds=tuple(
            Kind(mixer=mixer, mlp=kind.mlp)
            for mixer, kind in zip(_mixers(c, L), exaone_moe.mlps(c, L, first=2), strict=True)
        ),
        delta=delta,
        out_gate=OutGate(per="head"),
        experts=_experts(c),
    )


# transformers' names of what released files call otherwise.
_RENAMED = (
    (".attention.dense.", ".self_attn.o_proj."),
    (".attention.f_proj", ".self_attn.forget_gate.f_proj"),
    (".attention.dt_bias", ".self_attn.forget_gate.dt_bias"),
    (".attention.A_log", ".self_attn.forget_gate.A_log"),
    (".attention.", ".self_attn."),
    ("model.word_embeddings.", "model.embed_tokens."),
    (".mlp.gate.expert_bias", ".mlp.gate.e_score_correction_bias"),
)


def _also_renamed(rows: Mapping[str, Row]) -> dict[str, Row]:
    """The rows, whose tensors may have transformers' names as well."""

    def other(name: str) -> tuple[str, ...]:
        return next(((name.replace(*pair),) for pair in _RENAMED if pair[0] in name), ())

    return {
        path: dataclasses.replace(row, other_names=(*row.other_names, *other(row.name)))
        for path, row in rows.items()
    }


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    assert spec.latent is not None
    layer = "model.layers.{l}"
    attn = f"{layer}.attention"
    query = "q_b_proj" if spec.latent.q_rank else "q_proj"
    ours = {
        "embed": Row("model.word_embeddings.weight"),
        **deepseek_v2.attention_rows("blocks/attn", attn, query=query),
        **linear("blocks/attn/o", f"{attn}.dense", OUT),
        **output_gate("blocks/attn/gate", f"{attn}.g_proj", spec.out_gate),
        **kimi_linear.delta_rows(attn),
        "blocks/attn/decay/kernel": Row(f"{attn}.f_proj.weight", QUERY),
        "blocks/attn/out_gate/kernel": Row(f"{attn}.g_proj.weight", QUERY),
        "blocks/attn/log_rate": Row(f"{attn}.A_log"),
        "blocks/attn/out/kernel": Row(f"{attn}.dense.weight", OUT),
        "blocks/mlp/correction": Row(f"{layer}.mlp.gate.expert_bias"),
    }
    return {
        **deepseek_v2.rows(spec),
        **_also_renamed(ours),
        **kimi_linear.convolutions(attn, f"{layer}.self_attn", spec.delta),
    }


def _further_layers(spec: Spec) -> tuple[str, ...]:
    """Layers that predict further tokens come after the model's."""
    return tuple(rf"^model\.layers\.{spec.L + i}\." for i in range(4))


FAMILIES = {
    "bailing_hybrid": Family(
        PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS, inert_by_size=_further_layers
    )
}
