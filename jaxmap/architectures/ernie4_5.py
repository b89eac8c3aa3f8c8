"""ERNIE 4.5, dense: Llama with rope on adjacent channels."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "ERNIE Team, Baidu 2025, ERNIE 4.5 Technical Report"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=500_000.0, pairs="adjacent")
    bias = c.get("use_bias", False)
    sizes = llama.sizes(c, kv_heads=2, head_dim=128, eps=1e-5, tied=True, rope_facts=rope_facts)
    return Spec(**sizes, qkv_bias=bias, out_bias=bias, mlp_bias=bias)


FAMILIES = {"ernie4_5": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
