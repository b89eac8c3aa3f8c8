"""FlexOlmo: OLMo 2 with experts, each trained on data of its own."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama, olmo2, olmoe
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.model.spec import Spec

PAPER = "Shi et al. 2025, arXiv:2507.07024"


def spec(c: Config) -> Spec:
    c.assume("rms_norm_eps", 1e-6)
    c.assume("num_experts_per_tok", 5)
    if c.peek("rope_parameters") is None and c.peek("rope_scaling") is None:
        c.assume("rope_theta", 500_000.0)
    return dataclasses.replace(olmoe.spec(c), norms=olmo2.NORMS)


def rows(spec: Spec) -> dict[str, Row]:
    return {**olmoe.rows(spec), **olmo2.rows(spec)}


FAMILIES = {"flex_olmo": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
