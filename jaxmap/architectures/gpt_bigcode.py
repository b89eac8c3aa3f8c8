"""SantaCoder and StarCoder: GPT-2 whose heads share one key and value."""

from __future__ import annotations

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, grouped_qkv, linear, norm
from jaxmap.model.spec import Spec

PAPER = "Ben Allal et al. 2023, arXiv:2301.03988; Li et al. 2023, arXiv:2305.06161"
PREFIX = "transformer."
INERT_TENSORS = (r"attn\.bias$", r"attn\.masked_bias$", r"^(transformer\.)?bias$")


def spec(c: Config) -> Spec:
    L, D = c.first("n_layer", "num_hidden_layers"), c.first("n_embd", "hidden_size")
    H = c.first("n_head", "num_attention_heads")
    positions = c.first("n_positions", "max_position_embeddings")
    C = head_width(c, D, H)
    c.require("add_cross_attention", (False,), False)
    c.inert("n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop")
    c.inert("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    c.inert("num_key_value_heads")  # follows from multi_query; written by transformers 5
    c.inert("inference_runner", "max_batch_size", "max_sequence_length", "pad_key_length")
    c.inert("pre_allocate_kv_cache", "validate_runner_input")
    c.inert(*(key for key in c if key.startswith("summary_")))
    return Spec(
        L=L,
        D=D,
        H=H,
        G=1 if c.get("multi_query", True) else H,
        C=C,
        F=c.get("n_inner") or 4 * D,
        V=c["vocab_size"],
        context=positions,
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        qkv_bias=True,
        out_bias=True,
        scale=(C**-0.5 if c.get("scale_attn_weights", True) else 1.0,) * L,
        act=c.get("activation_function", "gelu_pytorch_tanh"),
        gated=False,
        mlp_bias=True,
        positions=positions,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "positions": Row("transformer.wpe.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.ln_1"),
        **grouped_qkv(f"{layer}.attn.c_attn", spec.H, spec.G),
        **linear("blocks/attn/o", f"{layer}.attn.c_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.ln_2"),
        **linear("blocks/mlp/up", f"{layer}.mlp.c_fc", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.c_proj", DOWN),
    }


FAMILIES = {"gpt_bigcode": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
