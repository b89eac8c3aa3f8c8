"""A.X-K1: DeepSeek-V3 with a norm of what the experts and the shared MLP give together."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v2, deepseek_v3, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family, ShapeOf
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "SK Telecom 2026, arXiv:2601.09200"
_NORM = "post_mlp_layernorm.weight"
# Released files have the norm in dense layers too, which do not use it.
INERT_TENSORS = (*deepseek_v3.INERT_TENSORS, r"\.post_mlp_layernorm\.weight$")


def mlps(c: Config, L: int) -> tuple[str, ...]:
    """The MLP of each layer: by mlp_layer_types, else experts in every so many layers."""
    types = c.get("mlp_layer_types")
    first, every = c.get("first_k_dense_replace", 1), c.get("moe_layer_freq", 1)
    if types is None:
        types = ["sparse" if i >= first and i % every == 0 else "dense" for i in range(L)]
    if len(types) != L or set(types) - {"dense", "sparse"}:
        raise InputError(f"{c.where}: mlp_layer_types must be {L} of dense and sparse")
    return tuple("experts" if kind == "sparse" else "dense" for kind in types)


def spec(c: Config) -> Spec:
    c["q_lora_rank"]  # the reference always compresses queries
    facts = deepseek_v2.latent(c, interleaved=c.get("rope_interleave", True))
    bare = {"experts": frozenset[str](), "dense": frozenset({"mlp_out"})}
    return Spec(
        **facts,
        norms=frozenset({"attn_in", "mlp_in", "mlp_out"}),
        kinds=tuple(Kind("latent", mlp, bare=bare[mlp]) for mlp in mlps(c, facts["L"])),
        experts=deepseek_v3.sigmoid_experts(c, groups=8, groups_kept=4, scale=2.5, shared=1),
    )


def _corrected(spec: Spec, shape_of: ShapeOf) -> Spec:
    """Whether the router has a correction, which released files lack."""
    mlps = [kind.mlp for kind in spec.kinds]
    if spec.experts is None or "experts" not in mlps:
        return spec
    name = f"model.layers.{mlps.index('experts')}.mlp.gate.e_score_correction_bias"
    has = shape_of(name) is not None
    return dataclasses.replace(spec, experts=dataclasses.replace(spec.experts, correction=has))


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **deepseek_v3.rows(spec),
        "blocks/mlp_out/scale": Row(f"{layer}.{_NORM}", other_names=(f"{layer}.mlp.{_NORM}",)),
    }


FAMILIES = {"axk1": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS, by_shapes=_corrected)}
