"""Reads tokenizer.json, with the additions that transformers 4 takes from the files beside it.

A folder's ids are those of the tokenizers library for tokenizer.json. tokenizer_config.json adds
special tokens and switches (add_bos_token, add_eos_token, add_prefix_space, legacy,
split_special_tokens), which have the meaning of the transformers 4 class that it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from absl import logging

from jaxmap.corpus.pipeline_components import part, template
from jaxmap.corpus.special_tokens import SpecialTokens, read_special_tokens, switched_tokens
from jaxmap.corpus.tokenizer_classes import GENERIC, FastClass, fast_class
from jaxmap.corpus.tokenizer_files import one_line
from jaxmap.corpus.vocabulary import BackendVocabulary, Vocabulary
from jaxmap.errors import InputError


@dataclass(frozen=True)
class Pipeline:
    """A vocabulary, the ids before and after each text, and the roles of tokens ("bos_token")."""

    reading: Vocabulary
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    roles: Mapping[str, str]
    split_special_tokens: bool = False


def pipeline_of(backend: Any, roles: Mapping[str, str], source: str) -> Pipeline:
    """The pipeline of a tokenizers.Tokenizer with its post-processor.

    Raises InputError if the post-processor does not put the same ids around every text.
    """
    backend.no_truncation()
    backend.no_padding()
    try:
        plain, full = (backend.encode("a", add_special_tokens=s) for s in (False, True))
    except Exception as error:  # tokenizers raises bare Exceptions, as for a missing <unk>
        raise InputError(
            f"{source}: the tokenizer cannot turn a text into ids ({one_line(error)})"
        ) from error
    added = len(full.ids) - len(plain.ids)
    # If the plain ids occur at several positions (a text may contain a special token's id), the
    # mask of added tokens shows the right one.
    mask = full.special_tokens_mask
    start = mask.index(0) if 0 in mask else len(mask)
    stop = start + len(plain.ids)
    if added < 0 or full.ids[start:stop] != plain.ids or start + len(full.ids) - stop != added:
        raise InputError(
            f"{source}: the tokenizer's special tokens are not a fixed prefix and suffix, which "
            "pairs and records need"
        )
    prefix, suffix = tuple(full.ids[:start]), tuple(full.ids[stop:])
    split = backend.encode_special_tokens
    return Pipeline(BackendVocabulary(backend), prefix, suffix, roles, split)


def read_tokenizer_json(
    folder: Path, tokenizer_config: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> Pipeline:
    """The tokenizer of a folder with a tokenizer.json.

    `tokenizer_config` and `config` are the contents of the files of these names; without
    tokenizer_config.json no switch is applied. Raises InputError for files that cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise InputError(f"{path}: cannot be read as a tokenizer ({one_line(error)})") from error
    return set_up(backend, folder, tokenizer_config, config)


def set_up(
    backend: Any,
    folder: Path,
    tokenizer_config: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    roles: Mapping[str, str] = MappingProxyType({}),
) -> Pipeline:
    """Applies the files beside a vocabulary to a tokenizers.Tokenizer made from it.

    `roles` are the roles of tokens that the vocabulary itself defines.
    """
    # Without tokenizer_config.json the class, and so its defaults, are unknown. transformers 5
    # writes the complete pipeline into tokenizer.json; only explicit switches apply to it.
    bare = tokenizer_config is None or "backend" in tokenizer_config
    settings = tokenizer_config or {}
    kind = fast_class(settings, config) if tokenizer_config is not None else GENERIC
    if kind.prefix_space == "sentencepiece" and not bare:
        backend = _sentencepiece_pipeline(backend, folder, settings)
    there = backend.get_added_tokens_decoder()
    special = read_special_tokens(folder, settings, GENERIC if bare else kind, there)
    backend = special.add_to(backend)
    if not bare:
        _set_prefix_space(backend, kind, settings, folder)
    _set_template(backend, kind, settings, special, folder, defaults=not bare)
    backend.encode_special_tokens = bool(settings.get("split_special_tokens"))
    return pipeline_of(backend, {**roles, **special.roles}, str(folder))


def _sentencepiece_pipeline(backend: Any, folder: Path, settings: Mapping[str, Any]) -> Any:
    """The pipeline that Llama's class builds anew if add_prefix_space is given.

    transformers 4 then reads tokenizer.model instead of tokenizer.json: the same vocabulary, with
    spaces handled by `legacy` and `add_prefix_space`. Without tokenizer.model it fails; here
    tokenizer.json is then used unchanged.
    """
    from tokenizers import Tokenizer

    prefix = settings.get("add_prefix_space")
    if prefix is None or not (folder / "tokenizer.model").is_file():
        return backend
    state = json.loads(backend.to_str())
    if state["model"].get("type") != "BPE" or not state["model"].get("byte_fallback"):
        return backend
    before = state["normalizer"], state["pre_tokenizer"]
    normalizer, pre_tokenizer = sentencepiece_spaces(bool(prefix), settings.get("legacy"))
    if before == (normalizer, pre_tokenizer):
        return backend
    _log(
        folder,
        f"add_prefix_space={prefix} and legacy={settings.get('legacy')} of tokenizer_config.json "
        "contradict tokenizer.json about spaces; used as by transformers 4: "
        "tokenizer_config.json",
    )
    return Tokenizer.from_str(
        json.dumps(state | {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer})
    )


def sentencepiece_spaces(prefix: bool, legacy: Any) -> tuple[dict | None, dict | None]:
    """The JSON of normalizer and pre-tokenizer of transformers 4's LlamaConverter.

    `prefix` is add_prefix_space; a `legacy` of None counts as true.
    """
    if legacy is None or legacy:
        steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}] if prefix else []
        steps.append({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
        return {"type": "Sequence", "normalizers": steps}, None
    scheme = "first" if prefix else "never"
    return None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}


def _set_prefix_space(
    backend: Any, kind: FastClass, settings: Mapping[str, Any], folder: Path
) -> None:
    """Sets whether a byte-level pre-tokenizer puts a space before a text, by the class's rule."""
    default = False if kind.prefix_space in ("always", "nested") else None
    wanted = settings.get("add_prefix_space", default)
    if not isinstance(wanted, bool) or kind.prefix_space == "sentencepiece":
        return
    if backend.pre_tokenizer is None:
        return
    pre_tokenizer = json.loads(backend.pre_tokenizer.__getstate__())
    if pre_tokenizer.get("type") == "ByteLevel":
        changed = pre_tokenizer | {"add_prefix_space": wanted}
    elif kind.prefix_space == "nested" and wanted:
        text = json.dumps(pre_tokenizer)
        changed = json.loads(text.replace('"add_prefix_space": false', '"add_prefix_space": true'))
    else:
        return
    if changed != pre_tokenizer:
        _log(
            folder,
            f"add_prefix_space is {wanted} in the class {kind.name} and {not wanted} in "
            f"tokenizer.json; used as by transformers 4: {wanted}",
        )
        backend.pre_tokenizer = part("pre_tokenizer", changed)


def _set_template(
    backend: Any,
    kind: FastClass,
    settings: Mapping[str, Any],
    special: SpecialTokens,
    folder: Path,
    defaults: bool,
) -> None:
    """Sets the post-processor, for classes that build it from their switches."""
    if not kind.template:
        return
    if not defaults and not settings.keys() & {"add_bos_token", "add_eos_token"}:
        return
    tokens = switched_tokens(folder, kind, settings, special.roles, backend.token_to_id)
    before, after = ([(token, backend.token_to_id(token)) for token in side] for side in tokens)
    as_it_stands, plain = backend.post_processor, _around(backend)
    backend.post_processor = template(before, after)
    switched = _around(backend)
    if plain == switched:
        backend.post_processor = as_it_stands
    else:
        _log(
            folder,
            f"tokenizer.json puts {plain} around a text, the class {kind.name} with "
            f"tokenizer_config.json's switches {switched}; used as by transformers 4: {switched}",
        )


def _around(backend: Any) -> str:
    """The special tokens that a post-processor puts around a text, for comparison and messages."""
    try:
        tokens = backend.encode("").tokens
    except Exception:  # tokenizers raises bare Exceptions, as for a template without its token
        return "what it cannot"
    return " ".join(tokens) or "nothing"


def _log(folder: Path, what: str) -> None:
    logging.info("%s: %s", folder, what)
