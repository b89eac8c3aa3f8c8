"""Gemma 3 with a vision tower; only the language model is read."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import gemma3_text
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.model.spec import Spec

PAPER = gemma3_text.PAPER
PREFIX = "language_model.model."
INERT_TENSORS = (*gemma3_text.INERT_TENSORS, r"^(model\.)?(vision_tower|multi_modal_projector)\.")

# Published files leave out keys whose value is the default of transformers, that of the 2B model.
_LEFT_OUT = dict(
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    vocab_size=262_208,
    max_position_embeddings=131_072,
)


def spec(c: Config) -> Spec:
    text = c.child("text_config") or Config({}, f"{c.where}: text_config")
    filled = Config({**_LEFT_OUT, **{key: text.get(key) for key in text}}, text.where)
    made = gemma3_text.spec(filled)
    filled.check_all_read()
    c.inert("vision_config", "mm_tokens_per_image")
    c.inert("boi_token_index", "eoi_token_index", "image_token_index")
    return dataclasses.replace(made, tied=c.get("tie_word_embeddings", True))


def rows(spec: Spec) -> dict[str, Row]:
    def nested(row: Row) -> Row:
        name = row.name.removeprefix("model.")
        others = (f"model.language_model.{name}", row.name)  # the name in transformers' memory
        return dataclasses.replace(row, name=f"language_model.{row.name}", other_names=others)

    return {path: nested(row) for path, row in gemma3_text.rows(spec).items()}


FAMILIES = {"gemma3": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS, text_type="gemma3_text")}
