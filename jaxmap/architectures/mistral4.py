"""Mistral 4: DeepSeek's latent attention and experts, queries that grow with their position."""

from __future__ import annotations

from jaxmap.architectures import deepseek_v2, llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.attention_facts import Temperature
from jaxmap.model.expert_facts import Experts
from jaxmap.model.spec import Spec

PAPER = "Mistral AI 2026, Mistral Small 4"
_ROPE = {  # where config.json says nothing
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 128.0,
    "original_max_position_embeddings": 8192,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale_all_dim": 1.0,
    "mscale": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_NOT_OF_ROPE = ("llama_4_scaling_beta", "max_position_embeddings")
_SIZES = {"q_lora_rank": 1024, "kv_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 64}


def spec(c: Config) -> Spec:
    if c.peek("rope_scaling") is None:
        c.assume("rope_parameters", _ROPE)
    for key, value in _SIZES.items():
        if key not in c:  # a rank of null says that queries are not compressed
            c.assume(key, value)
    c.assume("v_head_dim", 128)
    turned = c["qk_rope_head_dim"]
    head = c["qk_nope_head_dim"] + turned
    rope_facts = dict(
        head_dim=head,
        partial_key="partial_rotary_factor",
        partial=turned / head,
        inert=_NOT_OF_ROPE,
    )
    facts = deepseek_v2.latent(c, interleaved=c.get("rope_interleave", True), rope_facts=rope_facts)
    p = rope.described(c)
    assert p is not None
    c.inert("output_router_logits")
    F = c.get("moe_intermediate_size", 2048)
    experts = Experts(
        E=c.first("n_routed_experts", "num_local_experts"),
        k=c.get("num_experts_per_tok", 4),
        F=F,
        renorm=c.get("norm_topk_prob", True),
        added=1e-20,
        scale=c.get("routed_scaling_factor", 1.0),
        groups=c.get("n_group", 1) or 1,
        groups_kept=c.get("topk_group", 1) or 1,
        group_score="top2",
        shared_F=F * c.get("n_shared_experts", 1),
    )
    return Spec(
        **facts,
        kinds=deepseek_v2.kinds(c, facts["L"], first=0),
        experts=experts,
        temperature=Temperature(
            beta=p["llama_4_scaling_beta"], span=p["original_max_position_embeddings"]
        ),
    )


FAMILIES = {"mistral4": Family(PAPER, spec, deepseek_v2.rows, llama.PREFIX, llama.INERT_TENSORS)}
