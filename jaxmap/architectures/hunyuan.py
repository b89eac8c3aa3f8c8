"""Hunyuan: Llama whose queries and keys are normalised once turned; experts beside a shared one."""

from __future__ import annotations

from typing import Any

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row, each_expert, norm, shared_expert
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm, Rope
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

# What the repositories' files carry of other models of theirs.
_UNUSED = """
    add_classification_head class_num dense_list eod_token_id im_end_id im_newline_id im_start_id
    image_token_id mask_init_id max_seqlen org_vocab_size pad_id pool_type
    position_embedding_xdrope sep_id text_end_id text_start_id
""".split()


def _rope(c: Config, C: int) -> Rope:
    """An `alpha` beside the type "dynamic", or "xdrope", is a fixed stretch of the base."""
    p = rope.described(c)
    alpha = p and p.get("alpha")
    kind = p and (p.get("rope_type") or p.get("type"))
    if p is None or not alpha or kind not in ("dynamic", "xdrope"):
        return rope.from_config(c, head_dim=C, inert=() if alpha else ("alpha",))
    theta = p.get("rope_theta", c.get("rope_theta", 10_000.0))
    return rope.plain(C, theta=theta * alpha ** (C / (C - 2)))


def _same(c: Config, key: str, value: Any) -> None:
    """Refuses a number, or a list with one a layer, that is not what the layers are made with."""
    given = c.get(key)
    if set(given if isinstance(given, list) else [given]) - {None, value}:
        raise InputError(f"{c.where}: {key} = {given!r:.60} is not supported, only {value}")


def _facts(c: Config) -> dict[str, Any]:
    facts = llama.shape(c)
    eps = c.get("rms_norm_eps", 1e-5)
    bias = c.get("attention_bias", False)
    c.require("use_qk_norm", (True,), True)
    c.require("use_rotary_pos_emb", (True,), True)
    c.require("use_cla", (False,), False)
    c.require("norm_type", ("rms", "hf_rms"), "rms")
    c.require("mlp_bias", (False,), False)
    c.inert("cla_share_factor", *_UNUSED)
    _same(c, "attention_head_dim", facts["C"])
    return dict(
        **facts,
        context=rope.context_of(c),
        eps=eps,
        ropes=(_rope(c, facts["C"]),),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", eps, after_rope=True),
    )


def dense(c: Config) -> Spec:
    """The spec of a model without experts; raises InputError for unsupported settings."""
    return Spec(**_facts(c))


def moe(c: Config) -> Spec:
    """The spec of a model with experts; raises InputError for unsupported settings."""
    facts = _facts(c)
    top = c.first("moe_topk", "num_experts_per_tok")
    k = top[0] if isinstance(top, list) and top else top
    _same(c, "moe_topk", k)
    _same(c, "moe_intermediate_size", facts["F"])
    _same(c, "num_shared_expert", 1)
    _same(c, "moe_layer_num_skipped", 0)
    c.require("use_mixed_mlp_moe", (True,), True)
    c.inert("moe_drop_tokens", "moe_random_routing_dropped_token", "output_router_logits")
    E = c.first("num_experts", "num_local_experts")
    return Spec(
        **facts,
        kinds=(Kind(mlp="experts"),) * facts["L"],
        experts=Experts(E=E, k=k, F=facts["F"], renorm=True, shared_F=facts["F"]),
    )


def rows(spec: Spec) -> dict[str, Row]:
    attn, mlp = "model.layers.{l}.self_attn", "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{attn}.query_layernorm"),
        **norm("blocks/attn/k_norm", f"{attn}.key_layernorm"),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.wg.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_mlp"),
    }


FAMILIES = {
    "hunyuan_v1_dense": Family(
        "Tencent Hunyuan Team 2025, Hunyuan-7B", dense, rows, llama.PREFIX, llama.INERT_TENSORS
    ),
    "hunyuan_v1_moe": Family(
        "Tencent Hunyuan Team 2025, Hunyuan-A13B", moe, rows, llama.PREFIX, llama.INERT_TENSORS
    ),
}
