"""Gemma 4, text: layers without a window have wider heads, whose values may be their keys.

As in Gemma 3n, the last layers may use the keys and values of earlier ones, and each layer may have
embeddings of its own. Every layer ends with a learnt factor. Layers of 26B-A4B have routed experts
beside their dense MLP.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import gemma2, llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.gemma3n_text import layer_embedding_rows, shared_kinds
from jaxmap.architectures.rows import DOWN, ROUTER, UP, Row, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec
from jaxmap.model.streams import LayerEmbedding

PAPER = "Google DeepMind 2026, Gemma 4"
PREFIX = llama.PREFIX
# Files have projections of keys and values even of layers that use those of an earlier one.
INERT_TENSORS = (*llama.INERT_TENSORS, r"\.self_attn\.(k_proj|v_proj|k_norm)\.")
_ROPES = {
    "full_attention": dict(
        rope_type="proportional", partial_rotary_factor=0.25, rope_theta=1_000_000.0
    ),
    "sliding_attention": dict(rope_type="default", rope_theta=10_000.0),
}


def _of_all(c: Config, near: tuple[bool, ...], tied_values: bool) -> tuple[int, int]:
    """Channels per head, and key/value heads (0: as elsewhere), of the layers without a window."""
    heads, channels = c.get("num_global_key_value_heads"), c.get("global_head_dim", 512)
    written = c.get("per_layer_config")
    if not written:
        return channels, (heads or 0) if tied_values else 0
    by_layer = {int(layer): facts for layer, facts in written.items()}  # "05" of 30 layers
    given = [by_layer.get(i) for i, is_near in enumerate(near) if not is_near]
    if any(one != given[0] for one in given) or len(written) != len(given):
        raise InputError(
            f"{c.where}: per_layer_config must have the same values for all layers without a "
            "window, and no others"
        )
    own = Config(dict(given[0] or {}), f"{c.where}: per_layer_config")
    found = own.get("head_dim", channels), own.get("num_key_value_heads", 0)
    own.check_all_read()
    return found


def _experts(c: Config) -> Experts | None:
    """The experts beside the dense MLPs; None where the model has none."""
    if not c.get("enable_moe_block", False):
        c.inert("num_experts", "top_k_experts", "moe_intermediate_size")
        return None
    return Experts(
        E=c["num_experts"],
        k=c["top_k_experts"],
        F=c["moe_intermediate_size"],
        renorm=True,
        factors=True,
    )


def spec(c: Config) -> Spec:
    facts = llama.shape(
        c,
        kv_heads=4,
        head_dim=256,
        act_key="hidden_activation",
        act="gelu_pytorch_tanh",
        tied=True,
    )
    experts = _experts(c)
    # "vision": the tokens of a picture see each other; text is read causally.
    c.require("use_bidirectional_attention", (None, "vision"), None)
    c.assume("rope_parameters", _ROPES)
    L, C = facts["L"], facts["C"]
    near = sliding_layers(c, L, lambda i: (i + 1) % 6 != 0)
    near = (*near[:-1], False)  # the reference gives the last layer no window, whatever is written
    tied_values = bool(c.get("attention_k_eq_v", False))
    shared = c.get("num_kv_shared_layers", 0)
    wide, G = _of_all(c, near, tied_values)
    F = 2 * facts["F"] if c.get("use_double_wide_mlp", False) else 0
    kinds: list[Kind] = []
    for kind, is_near in zip(shared_kinds(c, near, shared), near, strict=True):
        kind = dataclasses.replace(kind, F=F if kind.reads else 0)
        if experts is not None:
            kind = dataclasses.replace(kind, mlp="dense+experts", bare=frozenset({"mlp_in"}))
        if not is_near:
            kind = dataclasses.replace(
                kind,
                C=wide if wide != C else 0,
                G=G if facts["G"] != G else 0,
                tied_values=tied_values and not kind.reads,
            )
        kinds.append(kind)
    eps = c.get("rms_norm_eps", 1e-6)
    bias = c.get("attention_bias", False)
    window = c.get("sliding_window", 512)
    embedding = c.get("hidden_size_per_layer_input", 256)
    table = c.get("vocab_size_per_layer_input", 262_144)
    return Spec(
        **facts,
        context=c.get("max_position_embeddings", 131_072),
        kinds=tuple(kinds),
        experts=experts,
        norms=gemma2.SANDWICH,
        eps=eps,
        embed_scale=facts["D"] ** 0.5,
        layer_embedding=LayerEmbedding(width=embedding, V=table) if embedding else None,
        layer_scaled=True,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", eps),
        v_norm=True,
        scale=(1.0,) * L,
        logit_softcap=c.get("final_logit_softcapping") or 0.0,
        ropes=(
            rope.from_config(c, head_dim=wide, theta=1e6, layer_type="full_attention"),
            rope.from_config(c, head_dim=C, layer_type="sliding_attention"),
        )[: 1 + any(near)],
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


def _expert_rows(layer: str) -> dict[str, Row]:
    """A dense MLP beside experts, which files have in two tensors."""
    mlp, experts = "blocks/mlp", f"{layer}.experts"
    names = {
        "dense_in": "pre_feedforward_layernorm",
        "dense_out": "post_feedforward_layernorm_1",
        "experts_in": "pre_feedforward_layernorm_2",
        "experts_out": "post_feedforward_layernorm_2",
    }
    found: dict[str, Row] = {}
    for path, name in names.items():
        found |= norm(f"{mlp}/{path}", f"{layer}.{name}")
    for part, layout in (("gate", UP), ("up", UP), ("down", DOWN)):
        found |= linear(f"{mlp}/dense/{part}", f"{layer}.mlp.{part}_proj", layout)
    for i, part in enumerate(("gate", "up")):
        found[f"{mlp}/experts/expert_{part}/kernel"] = Row(
            f"{experts}.gate_up_proj", "e (p f) d -> p e d f", (i, 2)
        )
    return {
        **found,
        f"{mlp}/experts/expert_down/kernel": Row(f"{experts}.down_proj", "e d f -> e f d"),
        f"{mlp}/router_in/scale": Row(f"{layer}.router.scale"),
        **linear(f"{mlp}/experts/router", f"{layer}.router.proj", ROUTER),
        f"{mlp}/experts/factor": Row(f"{layer}.router.per_expert_scale"),
    }


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **gemma2.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_norm"),
        **layer_embedding_rows(),
        **(_expert_rows(layer) if spec.experts else {}),
        "blocks/scale": Row(f"{layer}.layer_scalar"),
    }


def _unified(c: Config) -> Spec:
    """Of the models whose pictures and sound come without an encoder: less, and other defaults."""
    c.assume("hidden_size_per_layer_input", 0)
    c.require("hidden_size_per_layer_input", (0,), 0)
    c.require("enable_moe_block", (False, None), False)
    c.assume("max_position_embeddings", 262_144)
    c.assume("sliding_window", 1024)
    return spec(c)


FAMILIES = {
    "gemma4_text": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS),
    "gemma4_unified_text": Family(PAPER, _unified, rows, PREFIX, INERT_TENSORS),
}
