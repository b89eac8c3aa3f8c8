"""Vocabularies as text: what ids depend on, its fingerprint, and the vocabulary read from it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jaxmap.corpus.sentencepiece_vocabulary import SentencePieceVocabulary
from jaxmap.corpus.vocabulary import BackendVocabulary, Vocabulary


def serialised(reading: Vocabulary, rule: Mapping[str, Any]) -> str:
    """Everything that ids depend on, in an order independent of library versions and files."""
    return json.dumps([reading.state(), rule], sort_keys=True)


def fingerprint(text: str) -> str:
    """The sha256 of the serialised form, in hexadecimal."""
    return hashlib.sha256(b"jaxmap tokenizer 1\n" + text.encode("utf-8")).hexdigest()


def restored(text: str) -> tuple[Vocabulary, dict[str, Any]]:
    """The inverse of `serialised`; raises ValueError if the result would not be the same."""
    from tokenizers import Tokenizer

    state, rule = json.loads(text)
    reading: Vocabulary
    try:
        if state.get("type") == "sentencepiece":
            model = base64.b64decode(state["model"])
            options = {name: state[name] for name in state if name not in ("type", "model")}
            reading = SentencePieceVocabulary(model, **options)
        else:
            backend = Tokenizer.from_str(json.dumps(state))
            backend.encode_special_tokens = rule["split_special_tokens"]
            reading = BackendVocabulary(backend)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(f"cannot be read ({error})") from error
    if serialised(reading, rule) != text:
        raise ValueError("something else is read from it")
    return reading, rule
