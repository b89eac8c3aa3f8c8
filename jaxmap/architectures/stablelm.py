"""StableLM 3B and 2: Llama with LayerNorm, partly rotated heads, a query norm for each head."""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Bellagente et al. 2024, arXiv:2402.17834"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    D, H = c["hidden_size"], c["num_attention_heads"]
    C = head_width(c, D, H)
    c.assume("max_position_embeddings", 4096)
    eps = c.get("layer_norm_eps", 1e-5)
    parallel = c.get("use_parallel_residual", False)
    normed = c.get("qk_layernorm", False)
    c.require("rotary_scaling_factor", (1.0,), 1.0)
    c.inert("attention_dropout", "hidden_dropout")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=c.get("num_key_value_heads", 32) or H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=rope.context_of(c),
        norms=frozenset({"attn_in"} if parallel else {"attn_in", "mlp_in"}),
        parallel=parallel,
        norm="layer",
        norm_bias=True,
        eps=eps,
        qkv_bias=c.get("use_qkv_bias", False),
        qk_norm=QkNorm("heads", "layer", eps) if normed else None,
        ropes=(rope.from_config(c, head_dim=C, partial_key="partial_rotary_factor", partial=0.25),),
        act=c.get("hidden_act", "silu"),
        tied=c.get("tie_word_embeddings", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    attn = "model.layers.{l}.self_attn"
    return {
        **llama.rows(spec),
        "blocks/attn/q_norm/scale": Row(f"{attn}.q_layernorm.norms.{{e}}.weight"),
        "blocks/attn/k_norm/scale": Row(f"{attn}.k_layernorm.norms.{{e}}.weight"),
    }


FAMILIES = {"stablelm": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
