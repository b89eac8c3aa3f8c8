"""Zyphra's ZAYA1: attention with convolved queries and keys, and a router with a memory.

The router of each layer adds the state of the layer before to its own. One of its choices is to
skip the experts.
"""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import KEY_VALUE, OUT, QUERY, Row, each_expert, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkConv
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Anthony et al. 2025, arXiv:2511.17127; Figliolia et al. 2025, arXiv:2510.04476"
_TYPES = ("hybrid", "hybrid_sliding")
_ROPES = {
    "hybrid": dict(rope_theta=5_000_000.0, partial_rotary_factor=0.5),
    "hybrid_sliding": dict(rope_theta=10_000.0, partial_rotary_factor=0.5),
}


def _windows(c: Config, L: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Each layer's window, and whether it has one."""
    types, window = c.get("layer_types"), c.get("sliding_window")
    if types is None:
        types = [_TYPES[0]] * L
    if len(types) != L or set(types) - set(_TYPES):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_TYPES)}")
    near = tuple(kind == _TYPES[1] for kind in types)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: some layers need one")
    return tuple(window if is_near else 0 for is_near in near), near


def spec(c: Config) -> Spec:
    c.assume("intermediate_size", c.get("moe_intermediate_size", 2048))
    facts = llama.shape(c, kv_heads=2, head_dim=128, tied=True)
    L, C = facts["L"], facts["C"]
    if facts["G"] * C % 2:
        raise InputError(f"{c.where}: {facts['G']} x {C} channels of values have no halves")
    c.assume("rope_parameters", _ROPES)
    window, near = _windows(c, L)
    partial = dict(head_dim=C, partial_key="partial_rotary_factor")
    used = sorted(set(near))
    c.require("num_experts_per_tok", (1,), 1)
    c.inert("output_router_logits")
    bias = c.get("attention_bias", False)
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        eps=c.get("rms_norm_eps", 1e-5),
        kinds=tuple(
            Kind(mixer="convolved_attention", mlp="experts", reads_router=i > 0) for i in range(L)
        ),
        residual_float32=True,
        residual_affine=True,
        embed_affine=True,
        qkv_bias=bias,
        out_bias=bias,
        qk_conv=QkConv(taps=c.get("cca_time0", 2), head_taps=c.get("cca_time1", 2)),
        ropes=tuple(rope.from_config(c, layer_type=_TYPES[kind], **partial) for kind in used),
        rope_of=tuple(used.index(is_near) for is_near in near),
        window=window,
        experts=Experts(
            E=c.get("num_experts", 16),
            k=1,
            F=facts["F"],
            skips=1,
            correction=True,
            router_width=c.get("router_hidden_size", 256),
        ),
        head_bias=c.get("lm_head_bias", False),
    )


def _convolutions(name: str, spec: Spec) -> dict[str, Row]:
    """The rows of the convolutions; queries and keys are in the same tensors."""
    C, q = spec.C, spec.H * spec.C
    total = q + spec.G * C
    found = {}
    for path, start, stop in (("q_conv", 0, q), ("k_conv", q, total)):
        cut = (start, stop, total)
        for part, tensor, layout in (
            ("channel", "depthwise.weight", "(h c) 1 w -> h c w"),
            ("channel_bias", "depthwise.bias", "(h c) -> h c"),
            ("head", "grouped.weight", "(h z) c w -> h c z w"),
            ("head_bias", "grouped.bias", "(h c) -> h c"),
        ):
            row = Row(f"{name}.conv_qk_{tensor}", layout, cut=cut)
            found[f"blocks/attn/{path}/{part}"] = row
    return found


def _router(name: str) -> dict[str, Row]:
    """The rows of a layer's router."""
    path, swapped = "blocks/mlp/router", "o i -> i o"
    found = {
        "blocks/mlp/correction": Row(f"{name}.balancing_biases"),
        f"{path}/before": Row(f"{name}.router_states_scale"),
        f"{path}/norm/scale": Row(f"{name}.router_mlp.norm.weight"),
        f"{path}/out": Row(f"{name}.router_mlp.out_proj.weight", swapped),
    }
    for part, own in (
        ("down", "down_proj"), ("first", "router_mlp.fc1"), ("second", "router_mlp.fc2")
    ):  # fmt: skip
        found[f"{path}/{part}"] = Row(f"{name}.{own}.weight", swapped)
        found[f"{path}/{part}_bias"] = Row(f"{name}.{own}.bias")
    return found


def _affine(path: str, name: str) -> dict[str, Row]:
    """The rows of the scales and shifts of one sum."""
    return {
        f"{path}/{part}_{which}": Row(f"{name}.{own}_{stored}")
        for part, own in (("stream", "residual"), ("branch", "hidden_states"))
        for which, stored in (("scale", "scale"), ("shift", "bias"))
    }


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    attn, mlp = f"{layer}.self_attn", f"{layer}.mlp"
    return {
        "embed": Row("model.embed_tokens.weight"),
        "embed_scale": Row("model.input_hidden_states_scale"),
        "embed_shift": Row("model.input_hidden_states_bias"),
        "head": Row("lm_head.weight"),
        "head_bias": Row("lm_head.bias"),
        **norm("final_norm", "model.norm"),
        **norm("blocks/attn_in", f"{layer}.input_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.post_attention_layernorm"),
        **linear("blocks/attn/q", f"{attn}.qkv_proj.q_proj", QUERY),
        **linear("blocks/attn/k", f"{attn}.qkv_proj.k_proj", KEY_VALUE),
        "blocks/attn/q/bias": Row(f"{attn}.qkv_proj.q_proj.bias", "(h c) -> h c"),
        "blocks/attn/k/bias": Row(f"{attn}.qkv_proj.k_proj.bias", "(g c) -> g c"),
        **linear("blocks/attn/value_now", f"{attn}.qkv_proj.v_proj_current", "z d -> d z"),
        **linear("blocks/attn/value_before", f"{attn}.qkv_proj.v_proj_delayed", "z d -> d z"),
        **_convolutions(f"{attn}.qkv_proj", spec),
        "blocks/attn/k_scale": Row(f"{attn}.qk_norm.temp"),
        **linear("blocks/attn/o", f"{attn}.o_proj", OUT),
        **_affine("blocks/attn_affine", f"{layer}.post_attention_residual_scale"),
        **_affine("blocks/mlp_affine", f"{layer}.post_mlp_residual_scale"),
        **_router(f"{mlp}.gate"),
        **each_expert(f"{mlp}.experts", fused=f"{mlp}.experts"),
    }


FAMILIES = {"zaya": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
