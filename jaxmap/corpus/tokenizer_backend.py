"""A tokenizer of the tokenizers library: its ids and its form in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

Ids = Callable[[list[str], bool], list[list[int]]]  # (texts, whether with special tokens)

# What a class may do around the backend; one that does is called itself.
_OWN = ("__call__", "_encode_plus", "_batch_encode_plus", "_switch_to_input_mode")


def ids_of(backend: Any, split_special_tokens: bool) -> Ids:
    """The ids of a tokenizers.Tokenizer, never cut nor padded."""
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = split_special_tokens

    def ids(texts: list[str], special: bool) -> list[list[int]]:
        # Not encode_batch_fast: it leaves offsets out, and takes longer.
        return [one.ids for one in backend.encode_batch(texts, add_special_tokens=special)]

    return ids


def does_more(tokenizer: Any) -> bool:
    """Whether a class of transformers does something around its backend."""
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    return any(
        getattr(kind, name, None) is not getattr(PreTrainedTokenizerFast, name, None)
        for name in _OWN
    )


def serialised(backend: Any, rule: dict[str, Any]) -> str:
    """All that ids depend on, in one order whatever the versions and the file it came from."""
    state = json.loads(backend.to_str())
    # Left behind by earlier calls or training, and no part of a call without padding or cut.
    state["truncation"] = state["padding"] = None
    return json.dumps([state, rule], sort_keys=True)


def fingerprint(text: str) -> str:
    """sha256 hex of the serialised form."""
    return hashlib.sha256(b"jaxmap tokenizer 1\n" + text.encode("utf-8")).hexdigest()


def restored(text: str) -> tuple[Any, dict[str, Any]]:
    """The tokenizers.Tokenizer and the rule that were serialised; ValueError where it would not
    be the same one."""
    from tokenizers import Tokenizer

    state, rule = json.loads(text)
    try:
        backend = Tokenizer.from_str(json.dumps(state))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(f"tokenizers cannot read it ({error})") from error
    if serialised(backend, rule) != text:
        raise ValueError("tokenizers reads something else from it")
    return backend, rule
