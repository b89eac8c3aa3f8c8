"""Llama 3.2 Vision, given text alone: Llama 3.1 with layers of attention to a picture between.

Without a picture those layers are skipped. The layers of the decoder, and so of the lens, are the
others, counted from 0 without gaps: layer i is layer i of the Llama 3.1 that Meta started from.
"""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, embedding
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Grattafiori et al. 2024, arXiv:2407.21783"
_FURTHER = 8  # rows of the embedding after the vocabulary's, for the placeholders of pictures


def spec(c: Config) -> Spec:
    made = Spec(**llama.sizes(c, eps=1e-5, rope_facts=dict(theta=500_000.0)))
    c.inert("dropout")
    crossed = c.get("cross_attention_layers")
    crossed = {3, 8, 13, 18, 23, 28, 33, 38} if crossed is None else set(crossed)
    if not crossed <= set(range(made.L)) or len(crossed) == made.L:
        raise InputError(f"{c.where}: cross_attention_layers {sorted(crossed)} of {made.L} layers")
    numbers = tuple(i for i in range(made.L) if i not in crossed)
    return dataclasses.replace(
        made, L=len(numbers), layer_numbers=numbers, embed_V=made.V + _FURTHER
    )


def rows(spec: Spec) -> dict[str, Row]:
    return {**llama.rows(spec), "embed": embedding("model.embed_tokens.weight", spec)}


def inert_by_size(spec: Spec) -> tuple[str, ...]:
    """The tensors of the layers that are skipped."""
    read = "|".join(map(str, spec.layer_numbers))
    parts = r"(cross_attn|mlp|input_layernorm|post_attention_layernorm)"
    return (rf"\.layers\.(?!({read})\.)\d+\.{parts}",)


FAMILY = Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS, inert_by_size=inert_by_size)
