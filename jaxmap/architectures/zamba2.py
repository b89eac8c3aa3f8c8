"""Zamba2: Mamba-2 in every layer; some layers read a block of attention that they share as well."""

from __future__ import annotations

from jaxmap.architectures import llama, mamba2, rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, KEY_VALUE, OUT, QUERY, UP, Row, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Shared, StateSpace
from jaxmap.model.spec import Spec

PAPER = "Glorioso et al. 2024, arXiv:2411.15242"

_MAMBA = ("linear_attention", "mamba", "mamba2")  # as transformers 5 and 4 spell it
# Where hybrid layers are in a config.json that does not say, of 54 layers.
_HYBRID = (*range(6, 43, 6), 47, 51)


def hybrids(c: Config, L: int, default: tuple[int, ...]) -> tuple[int, ...]:
    """The layers that use a shared block: from layers_block_type, else `default`."""
    kinds = c.get("layers_block_type") or c.get("layer_types")
    c.inert("layer_types", "hybrid_layer_ids")
    if not kinds:
        return default
    if len(kinds) != L or set(kinds) - {"hybrid", *_MAMBA}:
        raise InputError(f"{c.where}: layers_block_type must be {L} of 'hybrid' and {_MAMBA[:2]}")
    return tuple(i for i, kind in enumerate(kinds) if kind == "hybrid")


def kinds(L: int, hybrid: tuple[int, ...], mixer: str) -> tuple[Kind, ...]:
    """The kinds of layers; hybrid ones have a norm inside their mixer."""
    own = frozenset({"attn_in"})
    return tuple(
        Kind(f"shared+{mixer}", "none", bare=own, shared=hybrid.index(i))
        if i in hybrid
        else Kind(mixer, "none")
        for i in range(L)
    )


def ends(c: Config) -> dict:
    """The sizes of the model and of its shared blocks, without ropes."""
    D, H = c["hidden_size"], c["num_attention_heads"]
    c.require("attention_hidden_size", (2 * D, None), 2 * D)
    c.inert("attention_dropout", "num_logits_to_keep", "use_mamba_kernels", "time_step_max")
    c.inert("time_step_floor", "kv_channels", "num_query_groups")
    # The reference shares blocks only where the head is shared too.
    c.require("tie_word_embeddings", (True,), True)
    C = c.get("attention_head_dim") or head_width(c, 2 * D, H)
    return dict(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=c.get("num_key_value_heads") or H,
        C=C,
        F=c.get("intermediate_size") or 4 * D,
        V=c["vocab_size"],
        act=c.get("hidden_act", "gelu"),
        tied=True,
        context=c.get("max_position_embeddings", 4096),
        eps=c.get("rms_norm_eps", 1e-5),
        norms=frozenset({"attn_in"}),
        scale=((C / 2) ** -0.5,) * c["num_hidden_layers"],
    )


def spec(c: Config) -> Spec:
    facts = ends(c)
    L, D, H, G, C = (facts[name] for name in "LDHGC")
    c.require("attention_head_dim", (2 * D // H, None), None)
    attention_adapters = c.get("use_shared_attention_adapter", False)
    if attention_adapters and not H * C == G * C == 2 * D:
        raise InputError(
            f"{c.where}: use_shared_attention_adapter needs {2 * D} channels of queries, keys and "
            f"values, twice hidden_size; num_attention_heads = {H} and num_key_value_heads = {G} "
            f"make {H * C} and {G * C}"
        )
    hybrid = hybrids(c, L, _HYBRID)
    heads, expand = c.get("n_mamba_heads", 8), c.get("mamba_expand", 2)
    c.require("mamba_headdim", (int(expand * D) // heads, None), None)
    # With it transformers 4 has another base of the rope, and transformers 5 does not.
    c.require("use_long_context", (False,), False)
    # The reference's convolution has a bias whatever this says.
    c.inert("use_conv_bias", "chunk_size", "use_mem_eff_path")
    bias = c.get("add_bias_linear", False)
    turned = c.get("use_mem_rope", False)
    ropes = (rope.from_config(c, head_dim=C),) if turned else ()
    c.inert("rope_parameters", "rope_theta", "rope_scaling")
    return Spec(
        **facts,
        kinds=kinds(L, hybrid, "ssd"),
        ropes=ropes,
        mlp_bias=bias,
        shared=Shared(
            blocks=min(c.get("num_mem_blocks", 1), len(hybrid)),
            layers=len(hybrid),
            rank=c.get("adapter_rank", 128),
            attention_adapters=attention_adapters,
        ),
        ssm=StateSpace(
            inner=int(expand * D),
            state=c.get("mamba_d_state", 64),
            taps=c.get("mamba_d_conv", 4),
            heads=heads,
            groups=c.get("mamba_ngroups", 1),
            step_limit=(c.get("time_step_min", 1e-3), float("inf")),
            in_bias=bias,
            out_bias=bias,
            norm="gated",
            eps=1e-5,
        ),
    )


def hybrid_layers(spec: Spec) -> list[int]:
    """The layers that use a shared block, in order."""
    return [i for i, kind in enumerate(spec.kinds) if kind.mixer.startswith("shared")]


def shared_rows(path: str, name: str) -> dict[str, Row]:
    """The rows of one shared block, except its gate and up projections."""
    return {
        **norm(f"{path}/attn_in", f"{name}.input_layernorm"),
        **norm(f"{path}/mlp_in", f"{name}.pre_ff_layernorm"),
        f"{path}/q/kernel": Row(f"{name}.self_attn.q_proj.weight", QUERY.replace("d", "z")),
        **{
            f"{path}/{part}/kernel": Row(
                f"{name}.self_attn.{part}_proj.weight", KEY_VALUE.replace("d", "z")
            )
            for part in "kv"
        },
        f"{path}/o/kernel": Row(f"{name}.self_attn.o_proj.weight", OUT),
        **linear(f"{path}/down", f"{name}.feed_forward.down_proj", DOWN),
    }


def _adapter_rows(spec: Spec, number: int, name: str) -> dict[str, Row]:
    """The rows of the adapters of the layer with this number, in its block."""
    path, F, found = f"adapters/{number}", spec.F, dict[str, Row]()
    for part in "qkv":
        own = f"{name}.self_attn.linear_{part}_adapter_list.{number}"
        found[f"{path}/{part}_down/kernel"] = Row(f"{own}.0.weight", "r z -> z r")
        found[f"{path}/{part}_up/kernel"] = Row(f"{own}.1.weight", "(h c) r -> r h c")
    own = f"{name}.feed_forward.gate_up_proj_adapter_list.{number}"
    found[f"{path}/mlp_down/kernel"] = Row(f"{own}.0.weight", "r d -> d r")
    for i, part in enumerate(("gate", "up")):
        cut = (i * F, (i + 1) * F, 2 * F)
        found[f"{path}/{part}_up/kernel"] = Row(f"{own}.1.weight", "f r -> r f", cut=cut)
    return found


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    assert spec.shared is not None
    layer, hybrid, F = "model.layers.{l}", hybrid_layers(spec), spec.F
    found = {
        **llama.rows(spec),
        **norm("final_norm", "model.final_layernorm"),
        **mamba2.mixer_rows(f"{layer}.mamba", spec.ssm),
        **mamba2.mixer_rows(f"{layer}.mamba_decoder.mamba", spec.ssm, path="blocks/attn/mixer"),
        **norm("blocks/attn/mixer_in", f"{layer}.mamba_decoder.input_layernorm"),
        "blocks/attn/linear/kernel": Row(f"{layer}.linear.weight", "z d -> d z"),
    }
    for number in range(spec.shared.blocks):
        path, name = f"shared/{number}", f"model.layers.{hybrid[number]}.shared_transformer"
        found |= shared_rows(path, name)
        for i, part in enumerate(("gate", "up")):
            cut, own = (i * F, (i + 1) * F, 2 * F), f"{name}.feed_forward.gate_up_proj"
            found[f"{path}/{part}/kernel"] = Row(f"{own}.weight", UP, cut=cut)
            found[f"{path}/{part}/bias"] = Row(f"{own}.bias", cut=cut)
    for number in range(spec.shared.layers):
        first = hybrid[number % spec.shared.blocks]
        found |= _adapter_rows(spec, number, f"model.layers.{first}.shared_transformer")
    return found


FAMILIES = {"zamba2": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
