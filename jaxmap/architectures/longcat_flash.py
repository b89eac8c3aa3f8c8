"""LongCat-Flash: two latent attentions and two MLPs in a layer, and experts on a shortcut.

Some of the experts are the identity: a token that chooses one gets itself, times the weight. The
multi-token prediction layers in the files are not part of the scored model.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v2, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, ROUTER, UP, Row, each_expert, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Meituan LongCat Team 2025, arXiv:2509.01322"
INERT_TENSORS = (*llama.INERT_TENSORS, r"^(model\.)?mtp\.")


def _layers(c: Config) -> int:
    """The number of layers; transformers counts attentions in num_hidden_layers, two in each."""
    L, attentions = c.get("num_layers"), c.get("num_hidden_layers")
    if L is None:
        if attentions is None or attentions < 2 or attentions % 2:
            raise InputError(
                f"{c.where}: num_layers is missing, and num_hidden_layers = {attentions!r} is not "
                "twice a number of layers"
            )
        return attentions // 2
    c.require("num_hidden_layers", (2 * L, L), 2 * L)
    return L


def _experts(c: Config) -> Experts:
    """The experts; what the released models have in these keys is all that the reference knows."""
    c.require("zero_expert_type", ("identity",), "identity")
    c.require("norm_topk_prob", (False, None), False)
    # The reference makes this bias, and does not add it.
    c.require("router_bias", (False, None), False)
    c.inert("aux_loss_alpha", "ep_size", "nextn_use_scmoe", "num_nextn_predict_layers")
    c.inert("output_router_logits", "params_dtype", "router_dtype")
    return Experts(
        E=c.first("n_routed_experts", "num_local_experts"),
        k=c.first("moe_topk", "num_experts_per_tok"),
        F=c.first("expert_ffn_hidden_size", "moe_intermediate_size"),
        identities=c.get("zero_expert_num", 256) or 0,
        scale=c.get("routed_scaling_factor", 6.0),
        correction=True,
    )


def spec(c: Config) -> Spec:
    L, D = _layers(c), c["hidden_size"]
    c.assume("num_hidden_layers", 2 * L)
    c.assume("intermediate_size", c.first("ffn_hidden_size", "intermediate_size"))
    c.assume("rms_norm_eps", 1e-5)
    c.assume("rope_theta", 10_000_000.0)
    for key in ("mla_scale_q_lora", "mla_scale_kv_lora"):
        c.require(key, (True,), True)
    c.require("attention_method", ("MLA",), "MLA")
    c["q_lora_rank"]  # the reference always compresses queries
    facts = deepseek_v2.latent(c, interleaved=True)
    latent = facts["latent"]
    c.require("head_dim", (latent.rope,), latent.rope)
    c.require("qk_head_dim", (latent.nope + latent.rope, None), None)
    return Spec(
        **facts
        | {
            "L": L,
            "scale": facts["scale"][:L],
            "latent": dataclasses.replace(
                latent, q_gain=(D / latent.q_rank) ** 0.5, kv_gain=(D / latent.kv_rank) ** 0.5
            ),
        },
        kinds=(Kind("latent", "shortcut_experts", bare=frozenset({"mlp_in"})),) * L,
        experts=_experts(c),
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.experts is not None
    layer, path, e = "model.layers.{l}", "blocks/mlp", spec.experts
    found = {
        **llama.rows(spec),
        **norm("blocks/attn_in", f"{layer}.input_layernorm.0"),
        **deepseek_v2.attention_rows("blocks/attn", f"{layer}.self_attn.0"),
        **norm(f"{path}/first_in", f"{layer}.post_attention_layernorm.0"),
        **norm(f"{path}/attn_in", f"{layer}.input_layernorm.1"),
        **deepseek_v2.attention_rows(f"{path}/attn", f"{layer}.self_attn.1"),
        **norm(f"{path}/second_in", f"{layer}.post_attention_layernorm.1"),
        f"{path}/experts/router/kernel": Row(f"{layer}.mlp.router.classifier.weight", ROUTER),
        f"{path}/experts/correction": Row(f"{layer}.mlp.router.e_score_correction_bias"),
        **each_expert(
            f"{layer}.mlp.experts",
            fused=f"{layer}.mlp.experts",
            path=f"{path}/experts",
            cut=(0, e.E, e.E + e.identities) if e.identities else None,
        ),
    }
    for i, which in enumerate(("first", "second")):
        for part, layout in (("gate", UP), ("up", UP), ("down", DOWN)):
            found |= linear(f"{path}/{which}/{part}", f"{layer}.mlps.{i}.{part}_proj", layout)
    return found


def _of_identities(spec: Spec) -> tuple[str, ...]:
    """The gate and up projections that transformers 5 makes, and saves, for identities too."""
    assert spec.experts is not None
    e = spec.experts
    numbers = "|".join(map(str, range(e.E, e.E + e.identities)))
    return (rf"\.mlp\.experts\.({numbers})\.(gate|up)_proj\.weight$",) if numbers else ()


FAMILIES = {
    "longcat_flash": Family(
        PAPER, spec, rows, llama.PREFIX, INERT_TENSORS, inert_by_size=_of_identities
    )
}
