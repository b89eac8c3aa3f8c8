"""OLMo 3: OLMo 2 with a window in three of four layers; rope scaling in the fourth only."""

from __future__ import annotations

from jaxmap.architectures import llama, olmo2, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "OLMo Team 2025, arXiv:2512.13961"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = olmo2.rows


def spec(c: Config) -> Spec:
    facts = llama.shape(c)
    L = facts["L"]
    bias = c.get("attention_bias", False)
    eps = c.get("rms_norm_eps", 1e-5)
    window = c.get("sliding_window", 4096) or 0
    near = sliding_layers(c, L, lambda i: (i + 1) % 4 != 0)
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        norms=olmo2.NORMS,
        eps=eps,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("all", "rms", eps),
        ropes=tuple(
            rope.from_config(c, head_dim=facts["C"], theta=5e5, layer_type=layer_type)
            for layer_type in ("full_attention", "sliding_attention")
        ),
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


FAMILIES = {"olmo3": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
