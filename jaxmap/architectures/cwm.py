"""Code World Model: Llama 3 with a window in three of four layers."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.model.spec import Spec

PAPER = "FAIR CodeGen Team 2025, arXiv:2510.02387"

# The keys that the published config.json leaves out.
_ROPE = dict(
    rope_type="llama3",
    factor=16.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
    rope_theta=1_000_000.0,
)


def spec(c: Config) -> Spec:
    if "rope_scaling" not in c:
        c.assume("rope_parameters", _ROPE)
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5, rope_facts=dict(theta=1e6))
    window = c.get("sliding_window", 8192) or 0
    near = sliding_layers(c, sizes["L"], lambda i: i % 4 != 0)
    return Spec(
        **sizes,
        mlp_bias=c.get("mlp_bias", False),
        window=tuple(window if is_near else 0 for is_near in near),
    )


FAMILIES = {"cwm": Family(PAPER, spec, llama.rows, llama.PREFIX, llama.INERT_TENSORS)}
