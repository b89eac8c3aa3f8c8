"""OLMo 2: Llama with norms on the branches' outputs instead of their inputs."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "OLMo Team 2025, arXiv:2501.00656"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
NORMS = frozenset({"attn_out", "mlp_out"})


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, eps=1e-5)
    bias = c.get("attention_bias", False)
    return Spec(
        **sizes,
        norms=NORMS,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("all", "rms", sizes["eps"]),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **llama.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_norm"),
        **norm("blocks/attn_out", f"{layer}.post_attention_layernorm"),
        **norm("blocks/mlp_out", f"{layer}.post_feedforward_layernorm"),
    }


FAMILIES = {"olmo2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
