"""Mamba-2: each layer is one state space with heads, without attention and MLP."""

from __future__ import annotations

from jaxmap.architectures import mamba
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, linear
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import StateSpace
from jaxmap.model.spec import Spec

PAPER = "Dao and Gu 2024, arXiv:2405.21060"
PREFIX = mamba.PREFIX
INERT_TENSORS = mamba.INERT_TENSORS


def step_limit(c: Config) -> tuple[float, float]:
    """The lower and upper bound of time steps; the upper may be infinite."""
    limit = c.get("time_step_limit")
    if limit is None:
        return (0.0, float("inf"))
    try:
        low, high = (_number(bound) for bound in limit)
    except (TypeError, ValueError, KeyError, OverflowError):
        low, high = 1.0, 0.0
    if not low <= high:  # nor NaN
        raise InputError(f"{c.where}: time_step_limit = {limit!r:.60}: must be two numbers")
    return low, high


def _number(bound) -> float:
    """A bound; transformers 5 writes infinity, which JSON lacks, as {"__float__": "Infinity"}."""
    return float(bound["__float__"] if isinstance(bound, dict) else bound)


def spec(c: Config) -> Spec:
    facts = mamba.body(c, tied=False)
    bias = c.get("use_bias", False)
    heads, inner = c.get("num_heads", 128), int(c.get("expand", 2) * facts["D"])
    if heads * (width := c.get("head_dim", 64)) != inner:
        raise InputError(
            f"{c.where}: {heads} heads of {width} channels do not make {inner} channels"
        )
    # transformers ignores these keys: its norm comes after the gate.
    c.inert("norm_before_gate", "intermediate_size", "time_step_rank", "chunk_size")
    ssm = StateSpace(
        inner=inner,
        state=c.get("state_size", 128),
        taps=c.get("conv_kernel", 4),
        heads=heads,
        groups=c.get("n_groups", 8),
        step_limit=step_limit(c),
        act=c.get("hidden_act", "silu"),
        conv_bias=c.get("use_conv_bias", True),
        in_bias=bias,
        out_bias=bias,
        norm="gated",
        eps=facts["eps"],
    )
    return Spec(**facts, kinds=(Kind(mixer="ssd", mlp="none"),) * facts["L"], ssm=ssm)


def mixer_rows(name: str, ssm: StateSpace, *, path: str = "blocks/attn") -> dict[str, Row]:
    """The rows of a state space with heads; gate, convolved channels and time steps are fused."""
    convolved = ssm.inner + 2 * ssm.groups * ssm.state
    total = ssm.inner + convolved + ssm.heads
    cuts = {
        "gate": (0, ssm.inner, total),
        "into": (ssm.inner, ssm.inner + convolved, total),
        "step": (ssm.inner + convolved, total, total),
    }
    rows = {
        f"{path}/conv": Row(f"{name}.conv1d.weight", "z 1 w -> z w"),
        f"{path}/conv_bias": Row(f"{name}.conv1d.bias"),
        f"{path}/step_bias": Row(f"{name}.dt_bias"),
        f"{path}/log_rate": Row(f"{name}.A_log"),
        f"{path}/skip": Row(f"{name}.D"),
        f"{path}/norm/scale": Row(f"{name}.norm.weight"),
        **linear(f"{path}/out", f"{name}.out_proj", "d i -> i d"),
    }
    for part, cut in cuts.items():
        rows[f"{path}/{part}/kernel"] = Row(f"{name}.in_proj.weight", "z d -> d z", cut=cut)
        rows[f"{path}/{part}/bias"] = Row(f"{name}.in_proj.bias", cut=cut)
    return rows


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.ssm is not None
    return {**mamba.ends(), **mixer_rows("backbone.layers.{l}.mixer", spec.ssm)}


FAMILIES = {"mamba2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
