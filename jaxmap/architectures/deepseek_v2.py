"""DeepSeek-V2: latent attention, and after the first layers grouped and shared experts."""

from __future__ import annotations

import math

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import (
    OUT,
    QUERY,
    ROUTER,
    Row,
    each_expert,
    linear,
    norm,
    shared_expert,
)
from jaxmap.model.attention_facts import Latent
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "DeepSeek-AI 2024, arXiv:2405.04434"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def latent(c: Config, *, interleaved: bool, rope_facts: dict | None = None) -> dict:
    """Sizes and attention.

    Args:
      c: config.json.
      interleaved: whether the rope rotates adjacent channels together.
      rope_facts: arguments of `rope.from_config`; by default the width of what is rotated.
    """
    # head_dim is the number of rotated channels here, and each query head has a key of its own.
    facts = llama.shape(c, head_dim=1)
    c.inert("qk_head_dim")
    nope, turned = c["qk_nope_head_dim"], c["qk_rope_head_dim"]
    scale = (nope + turned) ** -0.5
    p = rope.described(c)
    if p is not None and (mscale := p.get("mscale_all_dim")):
        kind, factor = p.get("rope_type") or p.get("type") or "default", p.get("factor") or 1.0
        if kind != "default" and factor > 1:
            scale *= (
                0.1 * mscale * math.log(factor) + 1
            ) ** 2  # YaRN's gain, on queries and on keys
    bias = c.get("attention_bias", False)
    return {
        **facts,
        "G": facts["H"],
        "C": nope + turned,
        "context": rope.context_of(c),
        "eps": c.get("rms_norm_eps", 1e-6),
        "latent": Latent(
            q_rank=c.get("q_lora_rank", 1536) or 0,
            kv_rank=c.get("kv_lora_rank", 512),
            nope=nope,
            rope=turned,
            v=c["v_head_dim"],
        ),
        "ropes": (
            rope.from_config(
                c,
                pairs="adjacent" if interleaved else "half",
                **(rope_facts or dict(head_dim=turned)),
            ),
        ),
        "scale": (scale,) * facts["L"],
        "qkv_bias": bias,
        "out_bias": bias,
    }


def kinds(c: Config, L: int, *, first: int) -> tuple[Kind, ...]:
    """The kind of each layer: dense ones first, `first` of them if config.json does not say."""
    dense = c.get("first_k_dense_replace", first)
    c.require("moe_layer_freq", (1,), 1)
    return tuple(Kind(mixer="latent", mlp="dense" if i < dense else "experts") for i in range(L))


def spec(c: Config) -> Spec:
    facts = latent(c, interleaved=True)
    grouped = c.get("topk_method", "greedy") == "group_limited_greedy"
    c.require("topk_method", ("greedy", "group_limited_greedy"), "greedy")
    c.require("scoring_func", ("softmax",), "softmax")
    # transformers 5.23 ignores this key, DeepSeek's own code does not; no published model sets it.
    c.require("norm_topk_prob", (False, None), False)
    c.inert("aux_loss_alpha", "ep_size", "output_router_logits", "seq_aux")
    F = c["moe_intermediate_size"]
    groups, kept = (c[key] if grouped else c.get(key) for key in ("n_group", "topk_group"))
    experts = Experts(
        E=c.first("n_routed_experts", "num_experts"),
        k=c["num_experts_per_tok"],
        F=F,
        scale=c.get("routed_scaling_factor", 1.0),
        groups=groups if grouped else 1,
        groups_kept=kept if grouped else 1,
        shared_F=F * (c.get("n_shared_experts", 2) or 0),
    )
    return Spec(
        **facts,
        kinds=kinds(c, facts["L"], first=0),
        experts=experts,
        mlp_bias=c.get("mlp_bias", False),
    )


def attention_rows(path: str, name: str, *, query: str = "q_b_proj") -> dict[str, Row]:
    """The rows of latent attention; `query` is the name of the last projection of queries."""
    return {
        **linear(f"{path}/q_down", f"{name}.q_a_proj", "z d -> d z"),
        **norm(f"{path}/q_norm", f"{name}.q_a_layernorm"),
        **linear(f"{path}/q", f"{name}.{query}", QUERY),
        **linear(f"{path}/kv_down", f"{name}.kv_a_proj_with_mqa", "z d -> d z"),
        **norm(f"{path}/kv_norm", f"{name}.kv_a_layernorm"),
        **linear(f"{path}/kv", f"{name}.kv_b_proj", QUERY),
        **linear(f"{path}/o", f"{name}.o_proj", OUT),
    }


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    query = "q_b_proj" if spec.latent and spec.latent.q_rank else "q_proj"
    return {
        **llama.rows(spec),
        **attention_rows("blocks/attn", "model.layers.{l}.self_attn", query=query),
        "blocks/mlp/router/kernel": Row(f"{mlp}.gate.weight", ROUTER),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
        **shared_expert(f"{mlp}.shared_experts"),
    }


FAMILIES = {"deepseek_v2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
