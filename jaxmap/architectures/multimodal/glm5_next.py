"""GLM-5.3-Flash's language model: Kimi delta attention, and latent attention without positions.

Several residual streams are mixed before each branch (`HyperConnections`). In layers of latent
attention an indexer chooses pools of neighbouring keys, and keeps the last ones, which fill no
pool. It chooses all pools in short texts (`Spec.dense_up_to`), so that its weights are not needed.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import deepseek_v3, deepseek_v32, exaone_moe, hy_v4, kimi_linear, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import Latent
from jaxmap.model.expert_facts import ClampedSwiglu
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Delta
from jaxmap.model.spec import Spec
from jaxmap.model.streams import HyperConnections

PAPER = "GLM-5 Team 2026, GLM-5.3-Flash"
# The layer after the last one predicts further tokens.
INERT_TENSORS = (
    *llama.INERT_TENSORS,
    deepseek_v32.INDEXER,
    r"(^|\.)layers\.45\.",
    r"\.layers\.\d+\.shared_head\.",
)
_MIXERS = {
    "linear_attention": "kimi_delta",
    "indexed_attention": "latent",
    "full_attention": "latent",
}


def _mixers(c: Config, L: int) -> list[str]:
    """The mixer of each layer: from layer_types, else latent attention in every fourth layer."""
    types = c.get("layer_types")
    if types is None:
        types = ["indexed_attention" if i % 4 == 3 else "linear_attention" for i in range(L)]
    if len(types) != L or set(types) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    return [_MIXERS[kind] for kind in types]


def _delta(c: Config) -> Delta:
    """The facts of Kimi delta attention, of which linear_attn_config has priority."""
    heads, width = c.get("linear_num_heads", 64), c.get("linear_head_dim", 128)
    taps, bound = c.get("linear_conv_kernel_dim", 4), c.get("linear_lower_bound", -5.0)
    inner = c.child("linear_attn_config")
    if inner is not None:
        heads, width = inner.get("num_heads", heads), inner.get("head_dim", width)
        taps = inner.get("short_conv_kernel_size", taps)
        bound = inner.get("gate_lower_bound", bound)
        if inner.get("safe_gate", True) and bound is None:
            bound = -5.0
        inner.inert("kda_layers", "full_attn_layers")
        inner.check_all_read()
    if bound is not None and not bound < 0:
        raise InputError(f"{c.where}: linear_lower_bound = {bound!r}: must be below 0, or null")
    return Delta(H=heads, G=heads, K=width, C=width, taps=taps, least_log_decay=bound or 0.0)


def _dense_up_to(c: Config) -> int:
    """The most tokens of a text of which all pools are chosen."""
    pool = c.get("index_kpool", 16)
    # Without it, a query would not even see itself.
    c.require("index_kpool_always_select_tail", (True,), True)
    c.inert("indexer_types", "index_topk_pattern", "index_topk_freq", "index_skip_topk_offset")
    return deepseek_v32.indexed(c) + pool - 1


def spec(c: Config) -> Spec:
    defaults = dict(num_hidden_layers=45, hidden_size=4096, intermediate_size=12_288)
    defaults |= dict(num_attention_heads=64, vocab_size=154_880, moe_intermediate_size=2048)
    defaults |= dict(n_routed_experts=288, max_position_embeddings=1_048_576)
    for key, value in defaults.items():
        c.assume(key, value)
    if c.peek("qk_rope_head_dim"):
        raise InputError(f"{c.where}: qk_rope_head_dim must be 0: layers have no positions")
    c.inert("qk_rope_head_dim", "head_dim", "qk_head_dim", "mlp_bias", "pretraining_tp")
    c.inert("rope_interleave", "rope_parameters", "rope_scaling", "rope_theta")
    c.inert("attention_dropout", "router_aux_loss_coef")
    L, H = c["num_hidden_layers"], c["num_attention_heads"]
    c.require("num_key_value_heads", (H, None), H)
    nope, eps = c.get("qk_nope_head_dim", 256), c.get("rms_norm_eps", 1e-5)
    bias = c.get("attention_bias", False)
    glu = ClampedSwiglu(alpha=1.0, limit=c.get("swiglu_limit", 10.0), added=0.0)
    c.require("hidden_act", ("silu",), "silu")
    kinds = zip(_mixers(c, L), exaone_moe.mlps(c, L, first=3), strict=True)
    experts = deepseek_v3.sigmoid_experts(c, groups=1, groups_kept=1, scale=2.5, shared=1)
    return Spec(
        L=L,
        D=c["hidden_size"],
        H=H,
        G=H,
        C=nope,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=c["max_position_embeddings"],
        dense_up_to=_dense_up_to(c),
        tied=c.get("tie_word_embeddings", False),
        eps=eps,
        kinds=tuple(Kind(mixer, kind.mlp) for mixer, kind in kinds),
        latent=Latent(
            q_rank=c.get("q_lora_rank", 1536),
            kv_rank=c.get("kv_lora_rank", 512),
            nope=nope,
            rope=0,
            v=c.get("v_head_dim", 256),
            eps=eps,
        ),
        delta=_delta(c),
        qkv_bias=bias,
        out_bias=bias,
        glu=glu,
        experts=dataclasses.replace(experts, glu=glu),
        hyper=HyperConnections(
            streams=c.get("hc_mult", 4),
            eps=c.get("hc_eps", 1e-6),
            sinkhorn=c.get("hc_sinkhorn_iters", 20),
            learnt_end=False,
        ),
    )


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    layer = "model.layers.{l}"
    attn = f"{layer}.self_attn"
    delta = kimi_linear.delta_rows(attn) | {"blocks/attn/log_rate": Row(f"{attn}.A_log")}
    for path in ("decay_down/kernel", "decay_up/kernel", "step_bias", "log_rate"):
        row = delta[f"blocks/attn/{path}"]
        other = row.name.replace(".self_attn.", ".self_attn.forget_gate.")
        delta[f"blocks/attn/{path}"] = dataclasses.replace(row, other_names=(other,))
    made = {
        **deepseek_v3.rows(spec),
        **delta,
        **kimi_linear.convolutions(attn, attn, spec.delta),
    }
    for part, released, own in (("attn", "hc_attn_", "attn_hc."), ("mlp", "hc_ffn_", "ffn_hc.")):
        made |= hy_v4.stream_weights(
            f"blocks/{part}_hyper", f"{layer}.{released}", f"{layer}.{own}"
        )
    return made


FAMILY = Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)
