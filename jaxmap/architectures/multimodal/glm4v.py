"""GLM-4.1V, 4.5V, 4.6V and GLM-OCR, given text alone: GLM-4-0414 and GLM-4.5."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import gemma2, glm4, glm4_moe, llama
from jaxmap.architectures.config import Config
from jaxmap.model.spec import Spec


def _dense(c: Config, *, bias: bool, kv_heads: int) -> Spec:
    rope_facts = dict(partial_key="partial_rotary_factor", pairs="adjacent")
    sizes = llama.sizes(c, kv_heads=kv_heads, eps=1e-5, rope_facts=rope_facts)
    c.require("attention_bias", (bias,), bias)
    c.inert("num_nextn_predict_layers")
    return Spec(**sizes, qkv_bias=bias, norms=gemma2.SANDWICH)


def glm4v(c: Config) -> Spec:
    """GLM-4.1V to 4.6V, dense."""
    return _dense(c, bias=True, kv_heads=2)


def glm_ocr(c: Config) -> Spec:
    """GLM-OCR: without biases."""
    return _dense(c, bias=False, kv_heads=8)


def glm4v_moe(c: Config) -> Spec:
    """GLM-4.5V and 4.6V with experts."""
    c.assume("attention_bias", True)
    c.assume("head_dim", c["hidden_size"] // c["num_attention_heads"])  # which need not be exact
    c.require("use_qk_norm", (False,), False)
    c.inert("router_aux_loss_coef")
    return glm4_moe.spec(c)


_DENSE = glm4.FAMILIES["glm4"]
FAMILIES = {
    "glm4v_text": dataclasses.replace(_DENSE, spec=glm4v),
    "glm4v_moe_text": dataclasses.replace(glm4_moe.FAMILIES["glm4_moe"], spec=glm4v_moe),
    # The multi-token prediction layer of GLM-OCR, which is not scored.
    "glm_ocr_text": dataclasses.replace(
        _DENSE, spec=glm_ocr, inert_tensors=(*_DENSE.inert_tensors, r"^model\.layers\.16\.")
    ),
}
