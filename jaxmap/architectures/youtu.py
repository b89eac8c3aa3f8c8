"""Youtu-LLM: Llama with DeepSeek-V2's latent attention."""

from __future__ import annotations

from jaxmap.architectures import deepseek_v2, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Tencent Youtu Lab 2025, arXiv:2512.24618"


def spec(c: Config) -> Spec:
    c.assume("tie_word_embeddings", True)
    facts = deepseek_v2.latent(c, interleaved=c.get("rope_interleave", True))
    c.require("mlp_bias", (False,), False)
    c.inert("embedding_initializer_range")
    return Spec(**facts, kinds=(Kind(mixer="latent"),) * facts["L"])


FAMILIES = {
    "youtu": Family(PAPER, spec, deepseek_v2.rows, llama.PREFIX, llama.INERT_TENSORS),
}
