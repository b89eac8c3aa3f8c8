"""Apertus: Llama with query norms and an ungated MLP whose activation, xIELU, is learnt."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, norm
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Hernández-Cano et al. 2025, arXiv:2509.14233"

_ROPE = {  # where config.json says nothing
    "rope_type": "llama3",
    "rope_theta": 12e6,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def spec(c: Config) -> Spec:
    if c.peek("rope_scaling") is None:
        c.assume("rope_parameters", _ROPE)
    sizes = llama.sizes(c, eps=1e-5, act="xielu", rope_facts=dict(theta=12e6))
    bias = c.get("attention_bias", False)
    c.require("mlp_bias", (False,), False)
    c.require("post_norm", (False,), False)
    c.require("qk_norm", (True,), True)
    return Spec(
        **sizes,
        qkv_bias=bias,
        out_bias=bias,
        gated=False,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        **llama.rows(spec),
        **norm("blocks/attn_in", f"{layer}.attention_layernorm"),
        **norm("blocks/mlp_in", f"{layer}.feedforward_layernorm"),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_norm"),
        "blocks/mlp/learned/right": Row(f"{layer}.mlp.act_fn.alpha_p"),
        "blocks/mlp/learned/left": Row(f"{layer}.mlp.act_fn.alpha_n"),
        "blocks/mlp/learned/slope": Row(f"{layer}.mlp.act_fn.beta"),
        "blocks/mlp/learned/bound": Row(f"{layer}.mlp.act_fn.eps"),
    }


FAMILIES = {"apertus": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
