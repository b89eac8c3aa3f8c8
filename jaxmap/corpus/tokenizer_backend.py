"""What transformers wraps: a tokenizer of the tokenizers library, its ids and its form in a file.

transformers takes seconds to import, and its call makes lists that nobody asks for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

Ids = Callable[[list[str], bool], list[list[int]]]  # (texts, whether with special tokens)

# What a class may do around the backend; one that does is called itself.
_OWN = ("__call__", "_encode_plus", "_batch_encode_plus", "_switch_to_input_mode")
_PROBES = ["a", "", " two  words\n", "naïve 東京 <s></s><|endoftext|> [MASK]", "1\t23"]


def ids_of(backend: Any, split_special_tokens: bool) -> Ids:
    """The ids of a tokenizers.Tokenizer, never cut nor padded."""
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = split_special_tokens

    def ids(texts: list[str], special: bool) -> list[list[int]]:
        # Not encode_batch_fast: it leaves offsets out, and takes longer.
        return [one.ids for one in backend.encode_batch(texts, add_special_tokens=special)]

    return ids


def around(tokenizer: Any, ids: Ids) -> Ids:
    """`ids`, which calls a transformers tokenizer, without transformers where that is the same."""
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    if any(getattr(kind, n, None) is not getattr(PreTrainedTokenizerFast, n, None) for n in _OWN):
        return ids
    direct = ids_of(tokenizer.backend_tokenizer, tokenizer.split_special_tokens)
    try:
        same = all(direct(_PROBES, special) == ids(_PROBES, special) for special in (False, True))
    except Exception:  # bare, as for a character that it has no id for
        same = False
    return direct if same else ids


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
