"""MiniCPM3: MiniCPM's factors with DeepSeek-V2's latent attention, rotated in halves."""

from __future__ import annotations

from jaxmap.architectures import deepseek_v2, llama
from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Hu et al. 2024, arXiv:2404.06395; OpenBMB 2024, MiniCPM3-4B"


def spec(c: Config) -> Spec:
    c.assume("tie_word_embeddings", True)
    c.assume("rms_norm_eps", 1e-5)
    c.assume("kv_lora_rank", 256)
    c.assume("v_head_dim", head_width(c, c["hidden_size"], c["num_attention_heads"]))
    if "q_lora_rank" not in c:  # null there means queries without a low rank
        c.assume("q_lora_rank", 768)
    facts = deepseek_v2.latent(c, interleaved=False)
    L, D = facts["L"], facts["D"]
    depth, base = c.get("scale_depth", 1.4), c.get("dim_model_base", 256)
    return Spec(
        **facts,
        kinds=(Kind(mixer="latent"),) * L,
        mlp_bias=c.get("mlp_bias", False),
        embed_scale=c.get("scale_emb", 12),
        residual_scale=1.0 if depth is None else depth / L**0.5,
        logit_scale=1.0 if base is None else base / D,
    )


FAMILIES = {
    "minicpm3": Family(PAPER, spec, deepseek_v2.rows, llama.PREFIX, llama.INERT_TENSORS),
}
