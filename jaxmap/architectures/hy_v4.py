"""Hy4: DeepSeek-V3.2 with hyper-connections, sinks and gates in its latent attention."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v2, deepseek_v3, deepseek_v32, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, Row
from jaxmap.model.attention_facts import OutGate
from jaxmap.model.expert_facts import ClampedSwiglu
from jaxmap.model.spec import Spec
from jaxmap.model.streams import HyperConnections

PAPER = "Tencent Hunyuan 2026, Hy4"
# The layers that predict further tokens are not part of the scored model.
INERT_TENSORS = (*llama.INERT_TENSORS, deepseek_v32.INDEXER, r"(^|\.)mtp_layers\.")


def spec(c: Config, *, interleaved: bool = False) -> Spec:
    c["q_lora_rank"]  # the indexer reads the compressed queries
    c.assume("rms_norm_eps", 1e-5)
    c.inert("learnable_sink_init", "indexer_types", "router_aux_loss_coef")
    facts = deepseek_v2.latent(c, interleaved=interleaved)
    eps = c.get("hc_eps", 1e-6)
    experts = deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=2.827, shared=1)
    glu = ClampedSwiglu(alpha=1.0, limit=c.get("swiglu_limit", 10.0), added=0.0)
    return Spec(
        **facts,
        dense_up_to=deepseek_v32.indexed(c),
        sinks=True,
        out_gate=OutGate(),
        hyper=HyperConnections(
            streams=c.get("hc_mult", 4), eps=eps, gain=c.get("hc_magnitude", 2.0), out_eps=eps
        ),
        kinds=deepseek_v32.latent_kinds(c, facts["L"], first=1),
        experts=dataclasses.replace(experts, glu=glu),
    )


def stream_weights(path: str, *names: str) -> dict[str, Row]:
    """The rows of `StreamWeights`, whose three tensors begin with any of these names."""
    layouts = {"project": "k (p d) -> p d k", "bias": "", "scale": ""}
    made = {}
    for (part, layout), own in zip(layouts.items(), ("fn", "base", "scale"), strict=True):
        first, *others = (f"{name}{own}" for name in names)
        made[f"{path}/weights/{part}"] = Row(first, layout, other_names=tuple(others))
    return made


def _gates(made: dict[str, Row]) -> dict[str, Row]:
    """The rows with the name that transformers 5.24 writes for every gate, those of MLPs too."""
    return {
        path: dataclasses.replace(
            row, other_names=(*row.other_names, row.name.replace("gate_proj", "linear_gate"))
        )
        if row.name.endswith(".gate_proj.weight")
        else row
        for path, row in made.items()
    }


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    made = {
        **deepseek_v3.rows(spec),
        "blocks/attn/gate/kernel": Row(f"{layer}.self_attn.gate_proj.weight", QUERY),
        "blocks/attn/sink": Row(
            f"{layer}.self_attn.learnable_sink_param", other_names=(f"{layer}.self_attn.sinks",)
        ),
        **stream_weights(
            "streams",
            "model.hc_head.hc_head_",
            "model.hc_head.hc_pre.hc_head_",
            "model.hc_pre.hc_head.hc_head_",
            "model.hc_head.hc_",
        ),
    }
    for part, released, own in (
        ("attn", "hc_attn_layer", "attn_hc"),
        ("mlp", "hc_mlp_layer", "ffn_hc"),
    ):
        made |= stream_weights(
            f"blocks/{part}_hyper",
            f"{layer}.{released}.hc_",
            f"{layer}.{released}.hc_pre.hc_",
            f"{layer}.hc_pre.{released}.hc_",
            f"{layer}.{own}.",
        )
    return _gates(made)


def _beside_vision(c: Config) -> Spec:
    """The larger Hy4: rope turns adjacent channels, and latent norms have the common epsilon."""
    made = spec(c, interleaved=True)
    assert made.latent is not None
    return dataclasses.replace(made, latent=dataclasses.replace(made.latent, eps=made.eps))


_HY4 = Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)
VL_TEXT = dataclasses.replace(_HY4, spec=_beside_vision)  # inside checkpoints of type hy_v4_vl

FAMILIES = {"hy_v4": _HY4}
