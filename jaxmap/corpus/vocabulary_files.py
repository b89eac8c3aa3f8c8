"""Chooses the file of a folder that its tokenizer is read from, and the reader.

tokenizer.json is read as it is. Without it, the sentencepiece package reads SentencePiece models;
tekken, tiktoken and merges become pipelines of the tokenizers library; anything else is read by the
transformers class that the folder names.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmap.corpus import byte_pairs
from jaxmap.corpus.sentencepiece_model import read_sentencepiece
from jaxmap.corpus.special_tokens import ROLES
from jaxmap.corpus.tokenizer_classes import fast_class
from jaxmap.corpus.tokenizer_files import one_line
from jaxmap.corpus.tokenizer_json import Pipeline, pipeline_of, read_tokenizer_json, set_up
from jaxmap.errors import InputError

_MODELS = ("tokenizer.model", "spiece.model", "sentencepiece*.model", "spm.model")
_TIKTOKEN = ("tiktoken.model", "*.tiktoken")
# Classes that change a text before tokenizer.json applies.
_MORE_THAN_FILES = {"CpmTokenizer": "cuts texts into words with jieba first"}


def read_vocabulary(
    folder: Path,
    names: Sequence[str],
    tokenizer_config: Mapping[str, Any] | None,
    config: Mapping[str, Any],
) -> Pipeline:
    """The tokenizer of a folder with these files; raises InputError if nothing can read it."""
    given = (folder, tokenizer_config, config)
    named = str((tokenizer_config or {}).get("tokenizer_class") or "").removesuffix("Fast")
    if named in _MORE_THAN_FILES:
        raise InputError(
            f"{folder / 'tokenizer_config.json'}: tokenizer_class: {named} "
            f"{_MORE_THAN_FILES[named]}, which is not supported"
        )
    if "tokenizer.json" in names:
        return read_tokenizer_json(*given)
    if tekken := _first(names, "tekken*.json"):
        backend, roles = byte_pairs.read_tekken(folder / tekken)
        return set_up(backend, *given, roles=roles)
    model = _first(names, *_MODELS)
    if model:
        found = read_sentencepiece(folder / model, tokenizer_config, config)
        if found is not None:
            return found
    if ranks := _first(names, *_TIKTOKEN) or model:
        backend = byte_pairs.read_tiktoken(folder / ranks, tokenizer_config or {})
        return set_up(backend, *given)
    kind = fast_class(tokenizer_config or {}, config)
    if kind.merges and {"vocab.json", "merges.txt"} <= set(names):
        backend = byte_pairs.read_merges(folder, kind, tokenizer_config or {})
        return set_up(backend, *given)
    return _read_by_transformers(folder)


def _first(names: Sequence[str], *patterns: str) -> str | None:
    found = (name for pattern in patterns for name in sorted(fnmatch.filter(names, pattern)))
    return next(found, None)


def _read_by_transformers(folder: Path) -> Pipeline:
    """The tokenizer that a transformers class builds from a folder without tokenizer.json."""
    # Without torch, transformers warns at import that there are no models; they are not needed.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            str(folder.resolve()), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers and tokenizers raise bare Exceptions here
        raise InputError(
            f"{folder}: transformers cannot read the tokenizer ({one_line(error)})"
        ) from error
    if not getattr(tokenizer, "is_fast", False) or _does_more(tokenizer):
        raise InputError(
            f"{folder}: {type(tokenizer).__name__} is not a tokenizers-based (fast) tokenizer; "
            "convert it to tokenizer.json"
        )
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = bool(tokenizer.split_special_tokens)
    roles = {role: getattr(tokenizer, role, None) for role in ROLES}
    return pipeline_of(backend, {r: str(t) for r, t in roles.items() if t}, str(folder))


def _does_more(tokenizer: Any) -> bool:
    """Whether a transformers class does more than its backend, a tokenizers.Tokenizer."""
    from transformers import PreTrainedTokenizerFast

    own = ("__call__", "_encode_plus", "_batch_encode_plus", "_switch_to_input_mode")
    kind = type(tokenizer)
    return any(
        getattr(kind, name, None) is not getattr(PreTrainedTokenizerFast, name, None)
        for name in own
    )
