"""Granite 4: Mamba-2 in most layers, attention in a few; a dense MLP with or without experts."""

from __future__ import annotations

from jaxmap.architectures import bamba, granite, granitemoe, llama, mamba2
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Granite Team 2025, Granite 4.0 Language Models"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS

_MIXERS = {
    "attention": "attention",
    "full_attention": "attention",
    "mamba": "ssd",
    "linear_attention": "ssd",
}


def _mixers(c: Config, L: int) -> list[str]:
    """The mixer of each layer, from the keys of transformers 4 or 5."""
    spellings = c.get("layer_types"), c.get("layers_block_type")
    kinds = spellings[0] or spellings[1] or ["mamba"] * L
    if unknown := set(kinds) - set(_MIXERS):
        raise InputError(f"{c.where}: unknown layer_types {sorted(map(str, unknown))}")
    if len(kinds) != L:
        raise InputError(f"{c.where}: {len(kinds)} layer_types for {L} layers")
    return [_MIXERS[kind] for kind in kinds]


def spec(c: Config) -> Spec:
    facts = granite.multiplied(c)
    L = facts["L"]
    if c.get("position_embedding_type") != "rope":
        facts["ropes"] = ()
    c.require("mlp_bias", (False,), False)
    c.require("normalization_function", ("rmsnorm", None), "rmsnorm")
    c.inert("init_method", "output_router_logits", "router_aux_loss_coef")
    shared, E = c.get("shared_intermediate_size", 1024), c.get("num_local_experts", 8)
    k = c.get("num_experts_per_tok", 2)
    experts = Experts(E=E, k=k, F=facts["F"], renorm=True, shared_F=shared) if E else None
    mlp = "experts" if E else "dense"
    return Spec(
        **{**facts, "F": shared},
        kinds=tuple(Kind(mixer=mixer, mlp=mlp) for mixer in _mixers(c, L)),
        ssm=bamba.state_space(c, eps=facts["eps"]),
        experts=experts,
        scale=(c.get("attention_multiplier", 1.0),) * L,
        logit_scale=1 / c.get("logits_scaling", 1.0),
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    mlp = "model.layers.{l}.shared_mlp"
    every = {**granitemoe.rows(spec), **mamba2.mixer_rows("model.layers.{l}.mamba", spec.ssm)}
    for path in ("blocks/mlp", "blocks/mlp/shared"):  # without experts, with experts
        for i, part in enumerate(("gate", "up")):
            cut = (i * spec.F, (i + 1) * spec.F, 2 * spec.F)
            every[f"{path}/{part}/kernel"] = Row(f"{mlp}.input_linear.weight", UP, cut=cut)
        every[f"{path}/down/kernel"] = Row(f"{mlp}.output_linear.weight", DOWN)
    return every


FAMILIES = {"granitemoehybrid": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
