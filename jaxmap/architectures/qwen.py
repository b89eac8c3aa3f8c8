"""Qwen 1: Llama with a fused projection that has biases (remote code).

Its code scales rope and scores for texts of more than seq_length tokens. Texts are cut at this
length, so neither has an effect.
"""

from __future__ import annotations

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, fused_qkv, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Bai et al. 2023, arXiv:2309.16609"
PREFIX = "transformer."
INERT_TENSORS = (r"rotary_emb\.inv_freq$", r"attn\.masked_bias$")


def spec(c: Config) -> Spec:
    H, D = c["num_attention_heads"], c["hidden_size"]
    C = head_width(c, D, H)
    if c.get("kv_channels", C) != C:
        raise InputError(f"{c.where}: kv_channels is not hidden_size / num_attention_heads = {C}")
    c.require("no_bias", (True,), True)
    c.require("scale_attn_weights", (True,), True)
    c.inert("use_dynamic_ntk", "use_logn_attn", "attn_dropout_prob", "emb_dropout_prob")
    c.inert("bf16", "fp16", "fp32", "onnx_safe", "softmax_in_fp32", "tokenizer_type")
    c.inert("use_flash_attn", "use_cache_kernel", "use_cache_quantization")
    return Spec(
        L=c["num_hidden_layers"],
        D=D,
        H=H,
        G=H,
        C=C,
        F=c["intermediate_size"] // 2,  # the key counts gate and up together
        V=c["vocab_size"],
        context=c["seq_length"],
        eps=c.get("layer_norm_epsilon", 1e-6),
        qkv_bias=True,
        ropes=(
            rope.from_config(c, head_dim=C, theta_key="rotary_emb_base", partial_key="rotary_pct"),
        ),
        tied=c.get("tie_word_embeddings", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.ln_1"),
        **fused_qkv(f"{layer}.attn.c_attn", "(p h c) d -> p d h c", "(p h c) -> p h c"),
        **linear("blocks/attn/o", f"{layer}.attn.c_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.ln_2"),
        **linear("blocks/mlp/up", f"{layer}.mlp.w1", UP),
        **linear("blocks/mlp/gate", f"{layer}.mlp.w2", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.c_proj", DOWN),
    }


FAMILIES = {"qwen": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
