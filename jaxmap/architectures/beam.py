"""Reflection's Beam: gated attention, residual sums that keep their length, sigmoid experts.

Layers whose type has no rope multiply their queries by a power of their position instead. The sums
of the residual stream are weighted so that each of the branches before it counts as much.
"""

from __future__ import annotations

import math

from jaxmap.architectures import exaone_moe, gemma2, llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, norm, output_gate
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm, Rope, Temperature
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind, ResidualFactors
from jaxmap.model.spec import Spec

PAPER = "Reflection AI 2026, Beam"
_TYPES = ("full_attention", "sliding_attention")
_ROPES = {"full_attention": None, "sliding_attention": {"rope_theta": 10_000.0}}


def _ropes(c: Config, C: int, near: tuple[bool, ...]) -> dict[bool, Rope]:
    """The ropes of layers without and with a window; none where rope_parameters says null."""
    c.assume("rope_parameters", _ROPES)
    written = c["rope_parameters"]
    absent = [kind for kind in _TYPES if kind not in written and (kind == _TYPES[1]) in near]
    if absent:
        raise InputError(f"{c.where}: rope_parameters has no {absent[0]}, nor null for it")
    return {
        bool(i): rope.from_config(c, head_dim=C, layer_type=kind)
        for i, kind in enumerate(_TYPES)
        if bool(i) in near and written[kind] is not None
    }


def _residual(i: int) -> ResidualFactors:
    """The factors in the sums of layer i, whose branches are number 2i + 2 and 2i + 3."""
    n = 2 * (i + 1)
    return ResidualFactors(
        mixer_stream=math.sqrt((n - 1) / n),
        mixer=1 / math.sqrt(n),
        mlp_stream=math.sqrt(n / (n + 1)),
        mlp=1 / math.sqrt(n + 1),
    )


def _experts(c: Config) -> Experts:
    c.inert("output_router_logits")
    return Experts(
        E=c.get("num_experts", 256),
        k=c.get("num_experts_per_tok", 8),
        F=c.get("moe_intermediate_size", 2560),
        score="sigmoid",
        renorm=c.get("norm_topk_prob", True),
        added=1e-20,
        scale=c.get("routed_scaling_factor", 2.5),
        groups=c.get("n_group", 8),
        groups_kept=c.get("topk_group", 4),
        group_score="top2",
        correction=True,
    )


def spec(c: Config) -> Spec:
    facts = llama.shape(c, kv_heads=8, head_dim=128)
    L, C = facts["L"], facts["C"]
    near = sliding_layers(c, L, lambda i: (i + 1) % 6 != 0 and i + 1 < L)
    window = c.get("sliding_window", 512)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    ropes = _ropes(c, C, near)
    index = {is_near: i for i, is_near in enumerate(ropes)}
    bias, eps = c.get("attention_bias", False), c.get("rms_norm_eps", 1e-6)
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        eps=eps,
        kinds=tuple(Kind(mlp=kind.mlp) for kind in exaone_moe.mlps(c, L, first=3)),
        experts=_experts(c),
        norms=gemma2.SANDWICH,
        residual=tuple(_residual(i) for i in range(L)),
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(bias="head"),
        qk_norm=QkNorm("head", "rms", eps),
        temperature=Temperature(0.1, 2048, offset=1, unturned_only=True, power=True),
        ropes=tuple(ropes.values()),
        rope_of=tuple(index.get(is_near, -1) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
        logit_softcap=c.get("final_logit_softcapping", 30.0) or 0.0,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    attn, mlp = f"{layer}.self_attn", f"{layer}.mlp"
    return {
        **gemma2.rows(spec),
        **norm("blocks/attn/q_norm", f"{attn}.q_norm"),
        **norm("blocks/attn/k_norm", f"{attn}.k_norm"),
        **output_gate("blocks/attn/gate", f"{attn}.gate_proj", spec.out_gate),
        "blocks/attn/gate_bias": Row(f"{attn}.gate_bias"),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        "blocks/mlp/correction": Row(f"{mlp}.gate.e_score_correction_bias"),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
    }


FAMILIES = {"beam": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
