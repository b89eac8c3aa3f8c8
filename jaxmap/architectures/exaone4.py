"""EXAONE 4: norms on the branches' outputs, query norms, rope only in layers with a window."""

from __future__ import annotations

from jaxmap.architectures import llama, olmo2
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "LG AI Research 2025, arXiv:2507.11407"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = olmo2.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, kv_heads=32, eps=1e-5)
    L = sizes["L"]
    window, period = c.get("sliding_window", 4096), c.get("sliding_window_pattern", 4)
    if isinstance(period, str) and c.get("layer_types") is None:
        raise InputError(f"{c.where}: sliding_window_pattern {period!r} without layer_types")
    near = sliding_layers(c, L, lambda i: bool(window and period and (i + 1) % period != 0))
    if any(near) and not window:
        raise InputError(f"{c.where}: layer_types name windows, but sliding_window is {window}")
    return Spec(
        **sizes,
        norms=olmo2.NORMS,
        qk_norm=QkNorm("head", "rms", sizes["eps"]),
        rope_of=tuple(0 if is_near or not window else -1 for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


FAMILIES = {"exaone4": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
