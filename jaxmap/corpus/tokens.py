"""Turns texts into token ids by the tokenizer of a checkpoint.

A text gets the special tokens that the tokenizer puts around it by default, no more and no fewer.
transformers is imported only for a folder without tokenizer.json whose format nothing else reads.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.corpus import tokenizer_backend
from jaxmap.corpus.special_tokens import ROLES
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokenizer_classes import is_known_class
from jaxmap.corpus.tokenizer_files import VOCABULARIES, files_in, one_line, read_json
from jaxmap.corpus.tokenizer_json import Pipeline, read_tokenizer_json
from jaxmap.errors import InputError

_TEXTS_A_CALL = 1000


@dataclass(frozen=True)
class Tokens:
    """The ids of a TextSet, one text after another.

    ids: int32 [total], offsets: int64 [N + 1]; text n is ids[offsets[n]:offsets[n + 1]].
    first_scored: int32 [N], the first id of the text that is scored (at least 1, since the first
    id is a condition); its length where nothing is scored. truncated: bool [N].
    """

    ids: np.ndarray
    offsets: np.ndarray
    first_scored: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.truncated)

    @property
    def lengths(self) -> np.ndarray:
        """int32 [N]: ids of each text, conditions included."""
        return np.diff(self.offsets).astype(np.int32)

    @property
    def num_scored(self) -> np.ndarray:
        """int32 [N]: ids of each text that have a log-probability in its score."""
        return self.lengths - self.first_scored


@dataclass(frozen=True)
class TextTokenizer:
    """A checkpoint's tokenizer with its own default special tokens; made by load_tokenizer.

    fingerprint: sha256 (hex) of everything that the ids depend on. special_rule: what is put around
    a text by default: "none", "bos", "bos+eos", ... size: largest id that it can produce, plus 1.
    prefix, suffix: the ids that the rule puts before and after a text. kept: what `restore` makes
    the same tokenizer from, without its files; None where that cannot be.
    """

    source: str
    fingerprint: str
    special_rule: str
    size: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    kept: str | None = field(repr=False, compare=False)
    _ids: tokenizer_backend.Ids = field(repr=False, compare=False)

    def encode(
        self,
        texts: TextSet,
        context: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> Tokens:
        """Ids of every text, cut on the right to `context` ids (None: never cut).

        Plain text: the default call's ids, scored from the second on. Pair: prefix, ids of the
        prompt, ids of the response, suffix, where prompt and response are tokenised apart so that
        the border is a border of tokens; scored from the response's first id on, but not from id 0.
        on_progress is called with the number of texts just done.
        """
        if context is not None and context < 1:
            raise InputError(f"context={context}: a model reads at least 1 token")
        num_texts = len(texts)
        offsets = np.zeros(num_texts + 1, np.int64)
        first_scored = np.zeros(num_texts, np.int32)
        truncated = np.zeros(num_texts, bool)
        parts = []
        for start in range(0, num_texts, _TEXTS_A_CALL):
            stop = min(start + _TEXTS_A_CALL, num_texts)
            for n, (ids, first) in enumerate(self._slice(texts, start, stop), start):
                length = len(ids) if context is None else min(len(ids), context)
                parts.append(np.array(ids[:length], np.int32))
                offsets[n + 1] = offsets[n] + length
                first_scored[n] = min(first, length)
                truncated[n] = length < len(ids)
            if on_progress is not None:
                on_progress(stop - start)
        all_ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return Tokens(all_ids, offsets, first_scored, truncated)

    def _slice(self, texts: TextSet, start: int, stop: int) -> Iterator[tuple[list[int], int]]:
        """(ids, first scored id) of texts start to stop, before any cut."""
        if texts.prompts is None:
            for ids in self._of(texts.texts[start:stop], special=True):
                yield ids, 1
            return
        prompts = self._of(texts.prompts[start:stop], special=False)
        responses = self._of(texts.texts[start:stop], special=False)
        for prompt, response in zip(prompts, responses, strict=True):
            condition = [*self.prefix, *prompt]
            yield [*condition, *response, *self.suffix], max(1, len(condition))

    def _of(self, texts: tuple[str, ...], special: bool) -> list[list[int]]:
        try:
            return self._ids(list(texts), special)
        except Exception as error:  # tokenizers raises bare Exceptions, as for a missing <unk>
            raise _cannot(error, self.source) from error


def load_tokenizer(folder: str | os.PathLike[str]) -> TextTokenizer:
    """The tokenizer in a checkpoint's folder.

    tokenizer.json as it stands (see `tokenizer_json`); without one, a class of transformers.
    Nothing is downloaded and no code of the checkpoint is run. Raises InputError for a folder
    without a tokenizer, one that needs its own code, or one that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a checkpoint's folder")
    names = files_in(folder)
    if not any(fnmatch.filter(names, pattern) for pattern in VOCABULARIES):
        raise InputError(
            f"{folder}: no tokenizer; looked for {', '.join(VOCABULARIES)}; save it there with "
            "tokenizer.save_pretrained"
        )
    tokenizer_config = read_json(folder / "tokenizer_config.json")
    config = read_json(folder / "config.json") or {}
    _refuse_code(folder, tokenizer_config or {})
    if "tokenizer.json" in names:
        pipeline = read_tokenizer_json(folder, tokenizer_config, config)
    else:
        pipeline = _read_by_transformers(folder)
    return _wrap(pipeline, str(folder))


def restore(kept: str, special_rule: str, source: str) -> TextTokenizer:
    """The tokenizer whose `kept` and `special_rule` these are; ValueError where it is not."""
    found, rule = tokenizer_backend.restored(kept)
    return TextTokenizer(
        source=source,
        fingerprint=tokenizer_backend.fingerprint(kept),
        special_rule=special_rule,
        size=_size(found, *rule["prefix"], *rule["suffix"]),
        prefix=tuple(rule["prefix"]),
        suffix=tuple(rule["suffix"]),
        kept=kept,
        _ids=tokenizer_backend.ids_of(found, rule["split_special_tokens"]),
    )


def _read_by_transformers(folder: Path) -> Pipeline:
    """A tokenizer without tokenizer.json, as transformers' class builds it."""
    # Without torch, transformers advises at import that there are no models: they are not needed.
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
    if not getattr(tokenizer, "is_fast", False) or tokenizer_backend.does_more(tokenizer):
        raise InputError(
            f"{folder}: {type(tokenizer).__name__} is not a tokenizers-based (fast) tokenizer; "
            "save a tokenizer.json made from it"
        )
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = bool(tokenizer.split_special_tokens)
    roles = {role: getattr(tokenizer, role, None) for role in ROLES}
    return Pipeline(backend, {role: str(token) for role, token in roles.items() if token})


def _wrap(pipeline: Pipeline, source: str) -> TextTokenizer:
    backend = pipeline.backend
    split = backend.encode_special_tokens
    ids = tokenizer_backend.ids_of(backend, split)
    prefix, suffix = _special_ids(backend, source)
    rule = {"prefix": prefix, "suffix": suffix, "split_special_tokens": split}
    kept = tokenizer_backend.serialised(backend, rule)
    return TextTokenizer(
        source=source,
        fingerprint=tokenizer_backend.fingerprint(kept),
        special_rule=_rule_name(pipeline, prefix, suffix),
        size=_size(backend, *prefix, *suffix),
        prefix=prefix,
        suffix=suffix,
        kept=kept,
        _ids=ids,
    )


def _size(tokenizer: Any, *others: int) -> int:
    return max([*tokenizer.get_vocab(with_added_tokens=True).values(), *others], default=-1) + 1


def _cannot(error: Exception, source: str) -> InputError:
    return InputError(f"{source}: the tokenizer cannot turn the texts into ids ({one_line(error)})")


def _special_ids(backend: Any, source: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before and after a text by default, read off a probe."""
    try:
        plain, full = (backend.encode("a", add_special_tokens=s) for s in (False, True))
    except Exception as error:  # as in `TextTokenizer._of`
        raise _cannot(error, source) from error
    added = len(full.ids) - len(plain.ids)
    # Of several places where the plain ids stand (a special token may be a text's own id), the
    # mask of added tokens tells which.
    mask = full.special_tokens_mask
    start = mask.index(0) if 0 in mask else len(mask)
    stop = start + len(plain.ids)
    if added < 0 or full.ids[start:stop] != plain.ids or start + len(full.ids) - stop != added:
        raise InputError(
            f"{source}: the tokenizer's special tokens are not a fixed prefix and suffix, which "
            "pairs and records need"
        )
    return tuple(full.ids[:start]), tuple(full.ids[stop:])


def _rule_name(pipeline: Pipeline, prefix: tuple[int, ...], suffix: tuple[int, ...]) -> str:
    backend, names = pipeline.backend, []
    ids_of_roles = {
        role: backend.token_to_id(token) for role, token in pipeline.roles.items() if token
    }
    for ids, roles in ((prefix, ("bos", "cls", "eos")), (suffix, ("eos", "sep", "bos"))):
        for token_id in ids:
            role = (r for r in roles if ids_of_roles.get(f"{r}_token") == token_id)
            names.append(next(role, None) or str(backend.id_to_token(token_id)))
    return "+".join(names) or "none"


def _refuse_code(folder: Path, tokenizer_config: Mapping[str, Any]) -> None:
    """Raises InputError where the tokenizer is a class in the checkpoint's own code."""
    auto_map = tokenizer_config.get("auto_map")
    if isinstance(auto_map, dict):
        auto_map = auto_map.get("AutoTokenizer")
    if isinstance(auto_map, list):
        auto_map = next((name for name in reversed(auto_map) if name), None)
    if auto_map and not is_known_class(tokenizer_config.get("tokenizer_class")):
        raise InputError(
            f"{folder}: its tokenizer is code of the checkpoint ({auto_map}), which is never run; "
            "save a tokenizer.json made from it"
        )
