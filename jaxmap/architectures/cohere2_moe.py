"""Cohere's Command A+: Command A with experts, of which some may be shared by all tokens."""

from __future__ import annotations

from jaxmap.architectures import cohere, exaone_moe, llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, shared_expert
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "Cohere 2026, command-a-plus-05-2026"


def spec(c: Config) -> Spec:
    rms = c.peek("rms_norm_eps")  # null: layer norms
    c.assume("rms_norm_eps", 1e-6)
    c.assume("head_dim", 128)
    facts = cohere.sizes(c, theta=10_000.0)
    if rms is not None:
        facts |= {"norm": "rms", "eps": rms}
    L, F = facts["L"], facts["F"]
    first = c.get("first_k_dense_replace", 0) or 0
    period = c.get("sliding_window_pattern", 4)
    dense_period = c.get("prefix_dense_sliding_window_pattern", 1)

    def is_near(i: int) -> bool:
        every, place = (dense_period, i) if i < first else (period, i - first)
        return (place + 1) % every != 0

    near = sliding_layers(c, L, is_near)
    window = c.get("sliding_window", 4096)
    if not window and any(near):
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    kinds = exaone_moe.mlps(c, L, first=0)
    dense_F = c.get("prefix_dense_intermediate_size") or F
    # Among the first layers, which have no experts, those that see all tokens have a rope as well.
    turned = [near[i] or (kinds[i].mlp == "dense" and dense_period == 1) for i in range(L)]
    shared = c.get("num_shared_experts", 0) or 0
    combined = c.get("shared_expert_combination_strategy", "average")
    c.require("shared_expert_combination_strategy", ("average", "sum"), "average")
    c.require("expert_selection_fn", ("softmax", "sigmoid"), "softmax")
    soft = c.get("expert_selection_fn", "softmax") == "softmax"
    renorm = c.get("norm_topk_prob", True)
    c.inert("output_router_logits", "router_aux_loss_coef")
    experts = Experts(
        E=c.first("num_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 2),
        F=F,
        # A softmax of the chosen experts' logits is their softmax among all, divided by the sum.
        score="softmax" if soft else "sigmoid_of_best",
        renorm=soft or renorm,
        shared_F=F * shared,
        mean_with_shared=bool(shared) and combined == "average",
    )
    return Spec(
        **{**facts, "F": dense_F},
        kinds=kinds,
        experts=experts,
        rope_of=tuple(0 if turns else -1 for turns in turned),
        window=tuple(window if own else 0 for own in near),
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_experts"),
    }


FAMILIES = {"cohere2_moe": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
