"""Apertus 1.5, given text alone: Apertus; tokens of pictures and sound may have no logit."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import apertus, llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, embedding
from jaxmap.model.spec import Spec

PAPER = "Swiss AI Initiative 2026, Apertus 1.5"


def spec(c: Config) -> Spec:
    made = apertus.spec(c)
    read = c.get("output_vocab_size") or made.V
    return dataclasses.replace(made, V=read, embed_V=made.V)


def rows(spec: Spec) -> dict[str, Row]:
    return {**apertus.rows(spec), "embed": embedding("model.embed_tokens.weight", spec)}


FAMILIES = {"apertus1p5_text": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}
