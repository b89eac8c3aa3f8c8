"""Zamba: Mamba in every layer; some layers read a block of attention that they share as well.

Attention has no positions.
"""

from __future__ import annotations

from jaxmap.architectures import llama, mamba, zamba2
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import UP, Row, linear, norm
from jaxmap.model.recurrent_facts import Shared, StateSpace
from jaxmap.model.spec import Spec

PAPER = "Glorioso et al. 2024, arXiv:2405.16712"

MIXER = "selective_scan_of_heads"


def spec(c: Config) -> Spec:
    facts = zamba2.ends(c)
    L, D = facts["L"], facts["D"]
    period, offset = c.get("attn_layer_period", 6), c.get("attn_layer_offset", 4)
    # Where config.json does not say: the third, and from the fourth on by the period.
    default = (2, *(i for i in range(3, L) if (i - 3) % period == offset))
    hybrid = zamba2.hybrids(c, L, tuple(i for i in default if i < L))
    c.inert("use_associative_scan", "time_step_min")
    bias = c.get("mamba_proj_bias", False)
    return Spec(
        **facts,
        kinds=zamba2.kinds(L, hybrid, MIXER),
        shared=Shared(blocks=min(1, len(hybrid)), layers=len(hybrid)),
        ssm=StateSpace(
            inner=int(c.get("mamba_expand", 2) * D),
            state=c.get("mamba_d_state", 16),
            taps=c.get("mamba_d_conv", 4),
            rank=mamba.rank_of(c, "mamba_dt_rank", D),
            heads=c.get("n_mamba_heads", 2),
            act=c.get("hidden_mamba_act", "silu"),
            conv_bias=c.get("mamba_conv_bias", True),
            in_bias=bias,
            out_bias=bias,
        ),
    )


def _mixer_rows(name: str, path: str) -> dict[str, Row]:
    """The rows of one mixer; the first projection has channels and gate by turns."""
    rows = {
        f"{path}/conv": Row(f"{name}.conv1d.weight", "i 1 w -> i w"),
        f"{path}/conv_bias": Row(f"{name}.conv1d.bias"),
        f"{path}/head_select": Row(f"{name}.x_proj_weight"),
        f"{path}/head_step": Row(f"{name}.dt_proj_weight"),
        f"{path}/step_bias": Row(f"{name}.dt_proj_bias"),
        f"{path}/log_rate": Row(f"{name}.A_log"),
        f"{path}/skip": Row(f"{name}.D"),
        **linear(f"{path}/out", f"{name}.out_proj", "d i -> i d"),
    }
    for i, part in enumerate(("into", "gate")):
        own = f"{name}.in_proj"
        rows[f"{path}/{part}/kernel"] = Row(f"{own}.weight", "(i p) d -> p d i", (i, 2))
        rows[f"{path}/{part}/bias"] = Row(f"{own}.bias", "(i p) -> p i", (i, 2))
    return rows


def rows(spec: Spec) -> dict[str, Row]:
    layer, hybrid = "model.layers.{l}", zamba2.hybrid_layers(spec)
    found = {
        **llama.rows(spec),
        **norm("final_norm", "model.final_layernorm"),
        **_mixer_rows(f"{layer}.mamba", "blocks/attn"),
        **_mixer_rows(f"{layer}.mamba_decoder.mamba", "blocks/attn/mixer"),
        **norm("blocks/attn/mixer_in", f"{layer}.mamba_decoder.input_layernorm"),
        "blocks/attn/linear/kernel": Row(f"{layer}.linear.weight", "z d -> d z"),
    }
    for first in hybrid[:1]:
        name = f"model.layers.{first}.shared_transf"
        found |= zamba2.shared_rows("shared/0", name)
        for part in ("gate", "up"):
            found |= linear(f"shared/0/{part}", f"{name}.feed_forward.{part}_proj", UP)
    return found


FAMILIES = {"zamba": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
