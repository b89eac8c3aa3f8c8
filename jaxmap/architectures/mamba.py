"""Mamba: each layer is one selective state space, without attention and MLP.

There is no limit on the length of a text: the state has a fixed size and there are no positions.

Quantised copies quantise `dt_proj` like any linear layer, as Falcon Mamba does; transformers' code
for Mamba multiplies by its stored weight, so bitsandbytes cannot quantise it there.
"""

from __future__ import annotations

import math

from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import StateSpace
from jaxmap.model.spec import Spec

PAPER = "Gu and Dao 2023, arXiv:2312.00752"
PREFIX = "backbone."
INERT_TENSORS = ()

# Placeholders for the sizes of attention and MLP, which the model does not have.
NO_ATTENTION = dict(H=1, G=1, C=1)
NO_MLP = dict(F=1)


def rank_of(c: Config, key: str, width: int) -> int:
    """The width of the time steps' projection: a number, or "auto" for width / 16."""
    rank = c.get(key, "auto")
    if rank == "auto":
        return math.ceil(width / 16)
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= 1 << 20:
        raise InputError(f"{c.where}: {key} = {rank!r:.60}: must be a whole number or 'auto'")
    return rank


def initial_values(c: Config) -> None:
    """Declares the keys that say how a model was initialised."""
    c.inert("time_step_floor", "time_step_init_scheme", "time_step_max", "time_step_min")
    c.inert("time_step_scale", "rescale_prenorm_residual", "emb_initializer_range")
    c.inert("A_initializer_range")


def body(c: Config, *, tied: bool) -> dict:
    """The facts that Mamba and Mamba-2 share; `tied` is the default of tie_word_embeddings."""
    initial_values(c)
    # Other names of the same numbers, and choices between programs that compute the same.
    c.inert("d_inner", "d_model", "fused_add_norm", "n_layer", "pad_vocab_size_multiple", "ssm_cfg")
    c.inert("use_associative_scan", "use_mambapy", "use_falcon_mambapy", "use_mem_eff_path")
    c.require("rms_norm", (True,), True)
    return dict(
        **NO_ATTENTION,
        **NO_MLP,
        L=c["num_hidden_layers"],
        D=c["hidden_size"],
        V=c["vocab_size"],
        context=None,
        norms=frozenset({"attn_in"}),
        eps=c.get("layer_norm_epsilon", 1e-5),
        residual_float32=c.get("residual_in_fp32", True),
        tied=c.get("tie_word_embeddings", tied),
    )


def state_space(c: Config) -> dict:
    """Sizes and biases of a selective state space."""
    D, bias = c["hidden_size"], c.get("use_bias", False)
    expand = c.get("expand", 2)
    return dict(
        # Both may be present and disagree; transformers uses the first.
        inner=c.get("intermediate_size") or int(expand * D),
        state=c.get("state_size", 16),
        taps=c.get("conv_kernel", 4),
        rank=rank_of(c, "time_step_rank", D),
        act=c.get("hidden_act", "silu"),
        conv_bias=c.get("use_conv_bias", True),
        in_bias=bias,
        out_bias=bias,
    )


def spec(c: Config) -> Spec:
    facts = body(c, tied=True)
    kinds = (Kind(mixer="selective_scan", mlp="none"),) * facts["L"]
    return Spec(**facts, kinds=kinds, ssm=StateSpace(**state_space(c)))


def ends() -> dict[str, Row]:
    """The rows of embedding, head and norms, with the names of Mamba and Mamba-2."""
    return {
        "embed": Row("backbone.embeddings.weight", other_names=("backbone.embedding.weight",)),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "backbone.norm_f"),
        **norm("blocks/attn_in", "backbone.layers.{l}.norm"),
    }


def mixer_rows(name: str, ssm: StateSpace) -> dict[str, Row]:
    """The rows of a selective state space whose tensors begin with this name."""
    I = ssm.inner  # noqa: E741
    rows = {
        "blocks/attn/conv": Row(f"{name}.conv1d.weight", "i 1 w -> i w"),
        "blocks/attn/conv_bias": Row(f"{name}.conv1d.bias"),
        **linear("blocks/attn/select", f"{name}.x_proj", "z i -> i z"),
        "blocks/attn/step/kernel": Row(f"{name}.dt_proj.weight", "i r -> r i"),
        "blocks/attn/step_bias": Row(f"{name}.dt_proj.bias"),
        "blocks/attn/log_rate": Row(f"{name}.A_log"),
        "blocks/attn/skip": Row(f"{name}.D"),
        **linear("blocks/attn/out", f"{name}.out_proj", "d i -> i d"),
    }
    for part, cut in (("into", (0, I, 2 * I)), ("gate", (I, 2 * I, 2 * I))):
        kernel = Row(f"{name}.in_proj.weight", "i d -> d i", cut=cut)
        rows[f"blocks/attn/{part}/kernel"] = kernel
        rows[f"blocks/attn/{part}/bias"] = Row(f"{name}.in_proj.bias", cut=cut)
    for part, own in (("step", "dt"), ("write", "b"), ("read", "c")):
        rows |= norm(f"blocks/attn/{part}_norm", f"{name}.{own}_layernorm")
    return rows


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    return {**ends(), **mixer_rows("backbone.layers.{l}.mixer", spec.ssm)}


FAMILIES = {"mamba": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
