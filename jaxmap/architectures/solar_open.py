"""Solar Open: GLM-4.5 with experts in every layer, without query norms."""

from __future__ import annotations

from jaxmap.architectures import deepseek_v3, glm4_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Upstage 2026, arXiv:2601.07022"


def spec(c: Config) -> Spec:
    rope_facts = dict(theta=1e6, partial_key="partial_rotary_factor")
    # The dense layers' width that llama.sizes reads is nobody's here.
    c.assume("intermediate_size", c.peek("moe_intermediate_size"))
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5, rope_facts=rope_facts)
    c.require("first_k_dense_replace", (0,), 0)
    c.require("use_qk_norm", (False,), False)
    return Spec(
        **sizes,
        kinds=(Kind(mlp="experts"),) * sizes["L"],
        experts=deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=1.0, shared=1),
        qkv_bias=c.get("attention_bias", False),
    )


FAMILIES = {
    "solar_open": Family(PAPER, spec, glm4_moe.rows, llama.PREFIX, llama.INERT_TENSORS),
}
