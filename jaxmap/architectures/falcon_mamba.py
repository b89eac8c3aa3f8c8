"""Falcon Mamba: Mamba with norms, without scales, of the time steps and of the projections B, C."""

from __future__ import annotations

from jaxmap.architectures import mamba
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import StateSpace
from jaxmap.model.spec import Spec

PAPER = "Zuo et al. 2024, arXiv:2410.05355"
PREFIX = mamba.PREFIX
INERT_TENSORS = mamba.INERT_TENSORS
rows = mamba.rows


def spec(c: Config) -> Spec:
    facts = mamba.body(c, tied=True)
    ssm = StateSpace(**mamba.state_space(c), norm="plain", eps=c.get("mixer_rms_eps", 1e-6))
    return Spec(**facts, kinds=(Kind(mixer="selective_scan", mlp="none"),) * facts["L"], ssm=ssm)


FAMILIES = {"falcon_mamba": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
