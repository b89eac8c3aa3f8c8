"""MiniMax-M3's language model: norms per head, experts as M2 has them, and blocks of chosen keys.

In layers of the type "minimax_m3_sparse" an indexer chooses blocks of keys for each query. It
chooses all of them in texts of at most `index_topk_blocks` blocks (`Spec.dense_up_to`), so that its
weights are not needed. All MLPs have gpt-oss's clamped activation.
"""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, ROUTER, UP, Row, each_expert, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import ClampedSwiglu, Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "MiniMax 2026, MiniMax-M3"
INERT_TENSORS = (
    *llama.INERT_TENSORS,
    r"\.self_attn\.(indexer\.|index_[qk]_(proj|norm)\.)",
    r"(^|\.)mtp\.",  # layers that predict further tokens
)


def _by_layer(c: Config, key: str, types: list | None, L: int, known: tuple[str, str]) -> list[str]:
    """The type of each layer, one of the two that are `known`."""
    if types is None or len(types) != L or set(types) - set(known):
        raise InputError(f"{c.where}: {key} must be {L} of {' and '.join(known)}")
    return types


def _dense_up_to(c: Config, L: int) -> int | None:
    """The most tokens of a text of which all keys are chosen; None if no layer has an indexer."""
    known = ("full_attention", "minimax_m3_sparse")
    types = c.get("layer_types")
    block, blocks = c.get("index_block_size", 128), c.get("index_topk_blocks", 16)
    c.inert("index_n_heads", "index_head_dim", "index_local_blocks")
    inner = c.child("sparse_attention_config")
    if inner is not None:  # of released files, which takes precedence
        inner.require("use_sparse_attention", (True,), True)
        block = inner.get("sparse_block_size", block)
        blocks = inner.get("sparse_topk_blocks", blocks)
        chosen = inner.get("sparse_attention_freq")
        if types is None and chosen is not None:
            types = [known[bool(one)] for one in chosen]
        without_values = inner.get("sparse_disable_index_value")
        if without_values is not None and types is not None:
            for one, kind in zip(without_values, types, strict=True):
                if kind == known[1] and not one:
                    raise InputError(f"{c.where}: sparse_disable_index_value: an indexer's values")
        inner.inert("sparse_index_dim", "sparse_num_index_heads", "sparse_score_type")
        inner.inert("sparse_init_block", "sparse_local_block")
        inner.check_all_read()
    types = _by_layer(c, "layer_types", types or [known[0]] * L, L, known)
    if known[1] not in types:
        return None
    if not all(type(one) is int and one > 0 for one in (block, blocks)):
        raise InputError(f"{c.where}: {blocks!r} blocks of {block!r} keys; both must be numbers")
    return block * blocks


def _mlps(c: Config, L: int) -> list[str]:
    types, chosen = c.get("mlp_layer_types"), c.peek("moe_layer_freq")
    c.inert("moe_layer_freq")  # a list, other than in other families
    if types is None and chosen is not None:
        types = ["sparse" if one else "dense" for one in chosen]
    return _by_layer(c, "mlp_layer_types", types or ["sparse"] * L, L, ("dense", "sparse"))


def spec(c: Config) -> Spec:
    c.inert("hidden_act", "rotary_dim")  # of these the reference reads nothing
    rope_facts = dict(theta=5e6, partial_key="partial_rotary_factor")
    sizes = llama.sizes(c, kv_heads=4, head_dim=128, rope_facts=rope_facts)
    L = sizes["L"]
    for key, only in (
        ("scoring_func", "sigmoid"),
        ("use_qk_norm", True),
        ("qk_norm_type", "per_head"),
        ("use_gemma_norm", True),
        ("use_routing_bias", True),
        ("attention_output_gate", False),
        ("n_shared_experts", 1),
    ):
        c.require(key, (only,), only)
    c.inert("num_mtp_modules", "num_nextn_predict_layers")
    c.inert("output_router_logits", "router_aux_loss_coef", "router_jitter_noise")
    glu = ClampedSwiglu(c.get("swiglu_alpha", 1.702), c.get("swiglu_limit", 7.0))
    experts = Experts(
        E=c.first("num_local_experts", "num_experts"),
        k=c.get("num_experts_per_tok", 4),
        F=sizes["F"],
        score="sigmoid",
        renorm=True,
        scale=c.get("routed_scaling_factor", 2.0),
        correction=True,
        glu=glu,
        shared_F=c.get("shared_intermediate_size", 3072),
    )
    kinds = {"dense": Kind(), "sparse": Kind(mlp="experts")}
    return Spec(
        **sizes | {"F": c.get("dense_intermediate_size", 12_288), "act": "silu"},
        dense_up_to=_dense_up_to(c, L),
        kinds=tuple(kinds[kind] for kind in _mlps(c, L)),
        experts=experts,
        glu=glu,
        norm_offset=1.0,
        qk_norm=QkNorm("head", "rms", sizes["eps"], offset=1.0),
    )


def _mlp(path: str, name: str, *others: str) -> dict[str, Row]:
    """The rows of an MLP, whose gate and up projection transformers 5 has in one tensor."""
    made = {}
    for i, part in enumerate(("gate", "up")):
        own, *more = (f"{one}.{part}_proj.weight" for one in (name, *others))
        joined = Row(f"{(name, *others)[-1]}.gate_up_proj.weight", "(p f) d -> p d f", (i, 2))
        made[f"{path}/{part}/kernel"] = Row(own, UP, other_names=tuple(more), otherwise=joined)
    own, *more = (f"{one}.down_proj.weight" for one in (name, *others))
    return made | {f"{path}/down/kernel": Row(own, DOWN, other_names=tuple(more))}


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    old, new = f"{layer}.block_sparse_moe", f"{layer}.mlp"
    experts = each_expert(f"{old}.experts", fused=f"{new}.experts", gate="w1", up="w3", down="w2")
    correction = "e_score_correction_bias"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_norm"),
        **_mlp("blocks/mlp", new),
        **_mlp("blocks/mlp/shared", f"{old}.shared_experts", f"{new}.shared_experts"),
        "blocks/mlp/router/kernel": Row(
            f"{old}.gate.weight", ROUTER, other_names=(f"{new}.gate.weight",)
        ),
        "blocks/mlp/correction": Row(
            f"{old}.{correction}", other_names=(f"{new}.gate.{correction}",)
        ),
        **experts,
    }


FAMILIES = {"minimax_m3_vl_text": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}
