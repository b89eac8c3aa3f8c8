"""Bamba: Mamba-2 in most layers, attention in a few, and an MLP in each.

The functions are shared by the other hybrids of Mamba-2 and attention.
"""

from __future__ import annotations

from typing import Any

from jaxmap.architectures import llama, mamba2
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import StateSpace
from jaxmap.model.spec import Spec

PAPER = "IBM, Princeton, CMU and UIUC 2024, Bamba-9B"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def state_space(c: Config, *, inner: int | None = None, **facts: Any) -> StateSpace:
    """The state space of a hybrid model, whose keys begin with mamba_.

    Args:
      c: the model's config.
      inner: the number of channels, if it is not a multiple of the model's width.
      facts: fields of `StateSpace` that differ from Bamba's.
    """
    heads = c.get("mamba_n_heads", 128)
    expanded = int(c.get("mamba_expand", 2) * c["hidden_size"])
    inner = inner or expanded
    width = c.get("mamba_d_head", "auto")
    if width not in ("auto", None) and width * heads != inner:
        raise InputError(
            f"{c.where}: {heads} heads of {width} channels do not make {inner} channels"
        )
    c.inert("mamba_chunk_size", "time_step_floor", "time_step_max", "time_step_min")
    c.inert("time_step_rank")
    bias = c.get("mamba_proj_bias", False)
    ours = dict(
        inner=inner,
        state=c.get("mamba_d_state", 256),
        taps=c.get("mamba_d_conv", 4),
        heads=heads,
        groups=c.get("mamba_n_groups", 1),
        step_limit=mamba2.step_limit(c),
        act=c.get("hidden_act", "silu"),
        conv_bias=c.get("mamba_conv_bias", True),
        in_bias=bias,
        out_bias=bias,
        norm="gated",
        eps=c.get("rms_norm_eps", 1e-5),
    )
    return StateSpace(**{**ours, **facts})


def spec(c: Config) -> Spec:
    rope_facts = dict(partial_key="partial_rotary_factor", partial=0.5)
    sizes = llama.sizes(c, kv_heads=8, eps=1e-5, rope_facts=rope_facts)
    attentive = c.get("attn_layer_indices") or ()
    c.inert("num_logits_to_keep", "z_loss_coefficient")
    bias = c.get("attention_bias", False)
    return Spec(
        **sizes,
        kinds=tuple(
            Kind(mixer="attention" if i in attentive else "ssd") for i in range(sizes["L"])
        ),
        ssm=state_space(c),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
    )


def feed_forward(name: str = "feed_forward") -> dict[str, Row]:
    """The rows of the MLP, its norm and the final norm, with Jamba's names."""
    layer = "model.layers.{l}"
    return {
        **norm("final_norm", "model.final_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.pre_ff_layernorm"),
        **linear("blocks/mlp/gate", f"{layer}.{name}.gate_proj", UP),
        **linear("blocks/mlp/up", f"{layer}.{name}.up_proj", UP),
        **linear("blocks/mlp/down", f"{layer}.{name}.down_proj", DOWN),
    }


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    mixer = mamba2.mixer_rows("model.layers.{l}.mamba", spec.ssm)
    return {**llama.rows(spec), **feed_forward(), **mixer}


FAMILIES = {"bamba": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
