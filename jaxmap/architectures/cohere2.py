"""Cohere's Command R7B and A: a window and rope in three of four layers, neither in the fourth."""

from __future__ import annotations

from jaxmap.architectures import cohere, llama
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Team Cohere 2025, arXiv:2504.00698"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    facts = cohere.sizes(c, theta=10_000.0)
    period = c.get("sliding_window_pattern", c.get("_sliding_window_pattern", 4))
    near = sliding_layers(c, facts["L"], lambda i: (i + 1) % period != 0)
    window = c.get("sliding_window", 4096)
    if not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: this family needs one")
    # These keys of the published files describe the only architecture that transformers has.
    c.require("use_gated_activation", (True,), True)
    c.require("use_parallel_block", (True,), True)
    c.require("use_qk_norm", (False,), False)
    c.require("position_embedding_type", ("rope_gptj",), "rope_gptj")
    c.require("order_of_interleaved_layers", ("local_attn_first",), "local_attn_first")
    c.require("rotary_pct", (1.0,), 1.0)
    c.require("use_embedding_sharing", (facts["tied"],), facts["tied"])
    c.inert("layer_switch", "use_parallel_embedding")
    return Spec(
        **facts,
        rope_of=tuple(0 if is_near else -1 for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


FAMILIES = {"cohere2": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}
