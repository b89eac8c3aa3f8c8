"""Turns texts into token ids by the tokenizer of a checkpoint, as transformers' default call does.

transformers is imported only when a tokenizer is loaded, not when it is restored. It imports torch
itself where torch is installed, and needs none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.corpus import tokenizer_backend
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tiktoken.model",
    "tekken.json",
)
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
    the same tokenizer from, without transformers; None where it cannot do without.
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
    """The tokenizer in a checkpoint's folder, as transformers' AutoTokenizer chooses it.

    Where neither tokenizer_config.json nor a model_type in config.json says which class it is,
    tokenizer.json is taken as it stands. Nothing is downloaded and no code of the checkpoint is
    run. Raises InputError for a folder without a tokenizer, one that needs its own code, or one
    that transformers cannot read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a checkpoint's folder")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(
            f"{folder}: no tokenizer; looked for {', '.join(TOKENIZER_FILES)}; save it there with "
            "tokenizer.save_pretrained"
        )
    tokenizer_config = _read_json(folder / "tokenizer_config.json")
    config = _read_json(folder / "config.json")
    as_it_stands = (
        tokenizer_config is None
        and not (config or {}).get("model_type")
        and (folder / "tokenizer.json").is_file()
    )
    # Without torch, transformers advises at import that there are no models: they are not needed.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer: Any
    try:
        if as_it_stands:
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder.resolve()), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers and tokenizers raise bare Exceptions here
        code = _own_code(tokenizer_config)
        if code:
            raise InputError(
                f"{folder}: its tokenizer is code of the checkpoint ({code}), which is never run; "
                "save a tokenizer.json made from it"
            ) from error
        raise InputError(
            f"{folder}: transformers cannot read the tokenizer ({_one_line(error)})"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{folder}: {type(tokenizer).__name__} is not a tokenizers-based (fast) tokenizer; "
            "save a tokenizer.json made from it"
        )
    return _wrap(tokenizer, str(folder))


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


def _wrap(tokenizer: Any, source: str) -> TextTokenizer:
    def called(texts: list[str], special: bool) -> list[list[int]]:
        """transformers' own call with nothing but its defaults; `verbose` only silences it."""
        return tokenizer(
            texts, add_special_tokens=special, padding=False, truncation=False, verbose=False
        )["input_ids"]

    prefix, suffix = _special_ids(tokenizer, called, source)
    rule = {
        "prefix": prefix,
        "suffix": suffix,
        "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
    }
    kept = tokenizer_backend.serialised(tokenizer.backend_tokenizer, rule)
    ids = tokenizer_backend.around(tokenizer, called)
    return TextTokenizer(
        source=source,
        fingerprint=tokenizer_backend.fingerprint(kept),
        special_rule=_rule_name(tokenizer, prefix, suffix),
        size=_size(tokenizer.backend_tokenizer, *prefix, *suffix),
        prefix=prefix,
        suffix=suffix,
        kept=None if ids is called else kept,
        _ids=ids,
    )


def _size(tokenizer: Any, *others: int) -> int:
    return max([*tokenizer.get_vocab(with_added_tokens=True).values(), *others], default=-1) + 1


def _cannot(error: Exception, source: str) -> InputError:
    return InputError(
        f"{source}: the tokenizer cannot turn the texts into ids ({_one_line(error)})"
    )


def _special_ids(
    tokenizer: Any, ids: tokenizer_backend.Ids, source: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before and after a text by default, read off a probe."""
    try:
        [plain], [full] = ids(["a"], False), ids(["a"], True)
    except Exception as error:  # as in `TextTokenizer._of`
        raise _cannot(error, source) from error
    added = len(full) - len(plain)
    # Of several places where the plain ids stand (a special token may be a text's own id), the
    # backend's mask of added tokens tells which.
    mask = tokenizer.backend_tokenizer.encode("a").special_tokens_mask
    start = mask.index(0) if 0 in mask else len(mask)
    stop = start + len(plain)
    if added < 0 or full[start:stop] != plain or start + len(full) - stop != added:
        raise InputError(
            f"{source}: the tokenizer's special tokens are not a fixed prefix and suffix, which "
            "pairs and records need"
        )
    return tuple(full[:start]), tuple(full[stop:])


def _rule_name(tokenizer: Any, prefix: tuple[int, ...], suffix: tuple[int, ...]) -> str:
    names = []
    for ids, roles in ((prefix, ("bos", "cls", "eos")), (suffix, ("eos", "sep", "bos"))):
        for token_id in ids:
            role = (r for r in roles if getattr(tokenizer, f"{r}_token_id", None) == token_id)
            names.append(next(role, None) or str(tokenizer.convert_ids_to_tokens(token_id)))
    return "+".join(names) or "none"


def _read_json(path: Path) -> dict | None:
    """A JSON object, or None where there is no such file."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({_one_line(error)})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object")
    return value


def _own_code(tokenizer_config: dict | None) -> str | None:
    """The class in the checkpoint's own code that its tokenizer_config.json names, if any."""
    auto_map = (tokenizer_config or {}).get("auto_map")
    if isinstance(auto_map, dict):
        auto_map = auto_map.get("AutoTokenizer")
    if isinstance(auto_map, list):
        auto_map = next((name for name in reversed(auto_map) if name), None)
    return auto_map or None


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
