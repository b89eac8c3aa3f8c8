"""MiniMax-01: lightning attention in most layers, softmax attention in the others; experts.

Branches are added to their normed inputs, each sum with factors of its own.
"""

from __future__ import annotations

from jaxmap.architectures import llama, mixtral
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import OUT, QUERY, Row, norm
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind, ResidualFactors
from jaxmap.model.recurrent_facts import Lightning
from jaxmap.model.spec import Spec

PAPER = "MiniMax 2025, arXiv:2501.08313"
# The decays of lightning attention, which follow from config.json.
INERT_TENSORS = (*llama.INERT_TENSORS, r"\.(slope_rate|(query|key|diagonal)_decay)$")

_MIXERS = {"full_attention": "attention", "linear_attention": "lightning"}


def _rates(L: int, H: int) -> tuple[tuple[float, ...], ...]:
    """The decay rates: those of ALiBi's slopes, smaller in later layers."""
    slope_H = [2 ** (-8 * (h + 1) / H) for h in range(H)]
    factor_L = [1 - layer / (L - 1 + 1e-5) + 1e-5 for layer in range(L)]
    return tuple(tuple(slope * factor for slope in slope_H) for factor in factor_L)


def _factors(c: Config) -> dict[str, ResidualFactors]:
    """The factors of the residual sums of each kind of layer."""

    def pair(part: str) -> tuple[float, float]:
        return c.get(f"{part}_alpha_factor", 1.0), c.get(f"{part}_beta_factor", 1.0)

    mlp = pair("mlp")
    return {
        kind: ResidualFactors(*pair(part), *mlp)
        for kind, part in (("full_attention", "full_attn"), ("linear_attention", "linear_attn"))
    }


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=8, eps=1e-5, rope_facts=dict(theta=1e6))
    L = sizes["L"]
    kinds = c.get("layer_types")
    if kinds is None:
        kinds = [sorted(_MIXERS)[i % 2] for i in range(L)]
    if len(kinds) != L or set(kinds) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    # The reference turns all channels, whatever rotary_dim says.
    c.require("rotary_dim", (None, sizes["C"]), None)
    c.inert("output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "block_size")
    factors = _factors(c)
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=c.get("num_experts_per_tok", 2),
        F=sizes["F"],
        renorm=True,
    )
    return Spec(
        **sizes,
        kinds=tuple(Kind(_MIXERS[kind], "experts", residual=factors[kind]) for kind in kinds),
        experts=experts,
        lightning=Lightning(_rates(L, sizes["H"]), eps=1e-6),
        residual_normed=True,
        window=(c.get("sliding_window") or 0,) * L,
    )


def rows(spec: Spec) -> dict[str, Row]:
    name = "model.layers.{l}.self_attn"
    parts = ("query", "key", "value")
    return {
        **mixtral.rows(spec),
        **{
            f"blocks/attn/{part}/kernel": Row(
                f"{name}.qkv_proj.weight", "(h p c) d -> p d h c", (i, 3)
            )
            for i, part in enumerate(parts)
        },
        "blocks/attn/out_gate/kernel": Row(f"{name}.output_gate.weight", QUERY),
        **norm("blocks/attn/norm", f"{name}.norm"),
        "blocks/attn/out/kernel": Row(f"{name}.out_proj.weight", OUT),
    }


FAMILIES = {"minimax": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
