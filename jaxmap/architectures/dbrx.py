"""DBRX: clipped queries, keys and values; in every layer experts, of which one tensor has all.

transformers 5.23 reads the rope's base at the top of config.json only and takes 10,000 where it is
in attn_config, as in Databricks' own files, whose code reads it there; so does this page.
"""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import OUT, ROUTER, Row, cut_qkv, norm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Databricks 2024, Introducing DBRX"


def spec(c: Config) -> Spec:
    D, H, L = c["d_model"], c["n_heads"], c["n_layers"]
    C = head_width(c, D, H)
    c.assume("max_position_embeddings", c["max_seq_len"])
    attn = c.child("attn_config") or Config({}, f"{c.where}: attn_config")
    ffn = c.child("ffn_config") or Config({}, f"{c.where}: ffn_config")
    act = ffn.child("ffn_act_fn")
    name = act["name"] if act else "silu"
    ffn.require("moe_normalize_expert_weights", (None, 1), 1)
    ffn.require("hidden_size", (D,), D)
    ffn.require("uniform_expert_assignment", (False,), False)
    ffn.inert("moe_jitter_eps", "moe_loss_weight")
    attn.inert("attn_pdrop")
    c.require("num_key_value_heads", (attn.get("kv_n_heads", 1),), attn.get("kv_n_heads", 1))
    c.inert("emb_pdrop", "resid_pdrop", "output_router_logits", "router_aux_loss_coef")
    F = ffn.get("ffn_hidden_size", 3584)
    experts = Experts(
        E=ffn.get("moe_num_experts", 4),
        k=ffn.get("moe_top_k", 1),
        F=F,
        renorm=ffn.get("moe_normalize_expert_weights", 1) is not None,
    )
    made = Spec(
        L=L,
        D=D,
        H=H,
        G=attn.get("kv_n_heads", 1),
        C=C,
        F=F,
        V=c["vocab_size"],
        context=rope.context_of(c),
        kinds=(Kind(mlp="experts"),) * L,
        experts=experts,
        norm="layer",
        eps=1e-5,
        clip_qkv=attn.get("clip_qkv") or 0.0,
        ropes=(rope.from_config(c, head_dim=C, theta=attn.get("rope_theta", 10_000.0)),),
        act=name,
        tied=c.get("tie_word_embeddings", False),
    )
    for part in (attn, ffn, act):
        if part:
            part.check_all_read()
    return made


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.blocks.{l}"
    attn, ffn = f"{layer}.norm_attn_norm", f"{layer}.ffn"
    experts = f"{ffn}.experts.mlp"
    return {
        "embed": Row("transformer.wte.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.norm_f"),
        **norm("blocks/attn_in", f"{attn}.norm_1"),
        **cut_qkv(f"{attn}.attn.Wqkv", spec),
        "blocks/attn/o/kernel": Row(f"{attn}.attn.out_proj.weight", OUT),
        **norm("blocks/mlp_in", f"{attn}.norm_2"),
        "blocks/mlp/router/kernel": Row(f"{ffn}.router.layer.weight", ROUTER),
        "blocks/mlp/expert_gate/kernel": Row(f"{experts}.w1", "(e f) d -> e d f"),
        "blocks/mlp/expert_up/kernel": Row(f"{experts}.v1", "(e f) d -> e d f"),
        "blocks/mlp/expert_down/kernel": Row(f"{experts}.w2", "(e f) d -> e f d"),
    }


FAMILIES = {"dbrx": Family(PAPER, spec, rows, "transformer.", (r"rotary_emb\.inv_freq$",))}
