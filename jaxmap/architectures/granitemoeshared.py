"""Granite with experts and, beside them, an MLP that every token takes."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import granite, granitemoe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row
from jaxmap.model.spec import Spec

PAPER = granite.PAPER


def spec(c: Config) -> Spec:
    made = granitemoe.spec(c)
    assert made.experts is not None
    shared = c.get("shared_intermediate_size", 0) or 0
    return dataclasses.replace(made, experts=dataclasses.replace(made.experts, shared_F=shared))


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.experts is not None
    F = spec.experts.shared_F
    found, mlp = granitemoe.rows(spec), "model.layers.{l}.shared_mlp"
    for i, part in enumerate(("gate", "up")):
        cut = (i * F, (i + 1) * F, 2 * F)
        found[f"blocks/mlp/shared/{part}/kernel"] = Row(f"{mlp}.input_linear.weight", UP, cut=cut)
    found["blocks/mlp/shared/down/kernel"] = Row(f"{mlp}.output_linear.weight", DOWN)
    return found


FAMILIES = {"granitemoeshared": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
