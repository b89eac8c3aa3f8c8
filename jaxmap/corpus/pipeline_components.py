"""Parts of a pipeline of the tokenizers library, made from their JSON in tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

Name = Literal["normalizer", "pre_tokenizer", "post_processor"]


def part(name: Name, state: dict[str, Any] | None) -> Any:
    """The part with this name and JSON state; None if the state is None."""
    from tokenizers import Tokenizer

    empty = {"type": "BPE", "vocab": {}, "merges": []}
    whole: dict[str, Any] = {"version": "1.0", "added_tokens": [], "model": empty, name: state}
    return getattr(Tokenizer.from_str(json.dumps(whole)), name)


def template(before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]) -> Any:
    """A post-processor that puts tokens (content, id) before and after a text.

    The library's own constructor does not accept tokens that contain a colon.
    """
    text = {"Sequence": {"id": "A", "type_id": 0}}

    def special(side: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": content, "type_id": 0}} for content, _ in side]

    tokens = {t: {"id": t, "ids": [number], "tokens": [t]} for t, number in (*before, *after)}
    state = {
        "type": "TemplateProcessing",
        "single": [*special(before), text, *special(after)],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": tokens,
    }
    return part("post_processor", state)
