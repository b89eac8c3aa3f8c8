"""SmolLM3: Llama without rope in every fourth layer."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Bakouch et al. 2025, SmolLM3; Yang et al. 2025, arXiv:2501.18795"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=4, tied=True, rope_facts=dict(theta=2_000_000.0))
    L = sizes["L"]
    period = c.get("no_rope_layer_interval", 4)
    turned = c.get("no_rope_layers")  # 1 means that a layer has rope, despite the name
    if turned is None:
        turned = [int((i + 1) % period != 0) for i in range(L)]
    if len(turned) != L or not set(turned) <= {0, 1}:
        raise InputError(f"{c.where}: no_rope_layers must be {L} zeros and ones")
    use, window = c.get("use_sliding_window", False), c.get("sliding_window")
    near = sliding_layers(c, L, lambda i: bool(use and window and not turned[i]))
    if any(near) and not (use and window):
        raise InputError(f"{c.where}: layer_types name windows that use_sliding_window denies")
    bias = c.get("attention_bias", False)
    c.inert("max_window_layers")
    return Spec(
        **sizes,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
        rope_of=tuple(0 if on else -1 for on in turned),
        window=tuple(window if is_near else 0 for is_near in near),
    )


FAMILIES = {"smollm3": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
