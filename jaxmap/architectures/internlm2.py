"""InternLM 2: Llama with queries, keys and values fused group by group (remote code)."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, grouped_qkv, linear, norm
from jaxmap.model.spec import Spec

PAPER = "Cai et al. 2024, arXiv:2403.17297"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS


def spec(c: Config) -> Spec:
    bias = c.get("bias", True)
    return Spec(**llama.sizes(c), qkv_bias=bias, out_bias=bias)


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    return {
        "embed": Row("model.tok_embeddings.weight"),
        "head": Row("output.weight"),
        **norm("final_norm", "model.norm"),
        **norm("blocks/attn_in", f"{layer}.attention_norm"),
        **grouped_qkv(f"{layer}.attention.wqkv", spec.H, spec.G),
        **linear("blocks/attn/o", f"{layer}.attention.wo", OUT),
        **norm("blocks/mlp_in", f"{layer}.ffn_norm"),
        **linear("blocks/mlp/gate", f"{layer}.feed_forward.w1", UP),
        **linear("blocks/mlp/up", f"{layer}.feed_forward.w3", UP),
        **linear("blocks/mlp/down", f"{layer}.feed_forward.w2", DOWN),
    }


FAMILIES = {"internlm2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
