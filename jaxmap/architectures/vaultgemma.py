"""VaultGemma: Gemma 2 without the norms on the branches' outputs."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import gemma2, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.spec import Spec

PAPER = "Sinha et al. 2025, arXiv:2510.15001"


def spec(c: Config) -> Spec:
    return dataclasses.replace(gemma2.spec(c), norms=frozenset({"attn_in", "mlp_in"}))


def rows(spec: Spec) -> dict[str, Row]:
    return {
        **llama.rows(spec),
        **norm("blocks/mlp_in", "model.layers.{l}.pre_feedforward_layernorm"),
    }


FAMILIES = {"vaultgemma": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
