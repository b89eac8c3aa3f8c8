"""BitNet b1.58: Llama with a norm before each projection back to the residual stream.

The weights are those that training kept; files of packed ternary weights are another encoding.
"""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.spec import Spec

PAPER = "Ma et al. 2025, arXiv:2504.12285"


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=500_000.0)
    bias = c.get("attention_bias", False)
    return Spec(
        **llama.sizes(c, kv_heads=5, eps=1e-5, act="relu2", rope_facts=rope_facts),
        qkv_bias=bias,
        out_bias=bias,
        mixed_norm=True,
        inner_norm=True,
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/mixed_norm", f"{layer}.self_attn.attn_sub_norm"),
        **norm("blocks/mlp/norm", f"{layer}.mlp.ffn_sub_norm"),
    }


FAMILIES = {"bitnet": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
