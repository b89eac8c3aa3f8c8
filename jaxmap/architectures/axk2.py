"""A.X-K2: DeepSeek-V3.2 with gated norms before its branches and gated latent attention.

Queries and gates come out of one projection of the compressed queries, before and after their norm.
"""

from __future__ import annotations

import dataclasses
import math

from jaxmap.architectures import axk1, deepseek_v2, deepseek_v3, deepseek_v32, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import QUERY, Row, norm
from jaxmap.model.attention_facts import Latent, OutGate
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "SK Telecom 2026, A.X-K2"
INERT_TENSORS = (*llama.INERT_TENSORS, deepseek_v32.INDEXER)


def spec(c: Config) -> Spec:
    c.assume("q_lora_rank", 384)
    c.assume("kv_lora_rank", 128)
    c.require("rope_interleave", (True,), True)
    facts = deepseek_v2.latent(c, interleaved=True)
    latent = dataclasses.replace(facts.pop("latent"), q_raw=True)
    experts = deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=2.5, shared=1)
    ungated = {"experts": frozenset[str](), "dense": frozenset({"mlp_in"})}
    return Spec(
        **facts,
        latent=latent,
        out_gate=OutGate(of_queries=True),
        dense_up_to=deepseek_v32.indexed(c),
        norm_gate_rank=c.get("gated_norm_rank", 16),
        kinds=tuple(Kind("latent", mlp, ungated=ungated[mlp]) for mlp in axk1.mlps(c, facts["L"])),
        experts=dataclasses.replace(experts, left_out=0.0),
    )


def _of_queries(name: str, H: int, latent: Latent) -> dict[str, Row]:
    """The rows of the projection that has each head's query, then its gate."""
    query, gate = latent.nope + latent.rope, latent.v
    size = math.gcd(query, gate)  # channels per block
    query, one = query // size, (query + gate) // size
    places = {"q": range(query), "gate": range(query, one)}
    return {
        f"blocks/attn/{part}/kernel": Row(
            f"{name}.q_b_proj.weight",
            QUERY,
            blocks=(tuple(head * one + i for head in range(H) for i in which), H * one),
            other_names=(f"{name}.q_gate_proj.weight",),
        )
        for part, which in places.items()
    }


def _gated_norm(path: str, name: str) -> dict[str, Row]:
    """The rows of a gated norm, or of the plain one that dense layers have in its place."""
    made = {
        f"{path}/{part}/kernel": Row(
            f"{name}.{released}.weight", layout, other_names=(f"{name}.mlp.{own}.weight",)
        )
        for part, released, own, layout in (
            ("down", "W_down", "fc1", "z d -> d z"),
            ("up", "W_up", "fc2", "d z -> z d"),
        )
    }
    return made | norm(f"{path}/norm", f"{name}.norm") | norm(path, name)


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.latent is not None
    layer = "model.layers.{l}"
    return {
        **deepseek_v3.rows(spec),
        **_of_queries(f"{layer}.self_attn", spec.H, spec.latent),
        **_gated_norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **_gated_norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
    }


FAMILIES = {"axk2": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
