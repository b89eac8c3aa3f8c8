"""Turns texts into token ids with the tokenizer of a checkpoint.

A text gets exactly the special tokens that the tokenizer puts around it by default. transformers is
imported only for a folder without tokenizer.json whose format nothing else reads.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.corpus.serialised_vocabulary import fingerprint, restored, serialised
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokenizer_classes import is_known_class
from jaxmap.corpus.tokenizer_files import VOCABULARIES, files_in, one_line, read_json
from jaxmap.corpus.tokenizer_json import Pipeline
from jaxmap.corpus.vocabulary import Vocabulary
from jaxmap.corpus.vocabulary_files import read_vocabulary
from jaxmap.errors import InputError, JaxmapError

_TEXTS_PER_CALL = 1000


@dataclass(frozen=True)
class Tokens:
    """The ids of a TextSet, one text after another.

    Fields:
      ids: int32 [total].
      offsets: int64 [N + 1]; text n is ids[offsets[n]:offsets[n + 1]].
      first_scored: int32 [N], the index in its text of the first scored id. It is at least 1, since
        the first id has no probability, and the text's length if nothing is scored.
      truncated: bool [N], whether the text was cut to the model's context.
      apart: bool [N], whether the response was tokenised separately from its prompt, because a
        token would extend across the border.
    """

    ids: np.ndarray
    offsets: np.ndarray
    first_scored: np.ndarray
    truncated: np.ndarray
    apart: np.ndarray

    def __len__(self) -> int:
        return len(self.truncated)

    @property
    def lengths(self) -> np.ndarray:
        """The number of ids of each text, those that are not scored included, int32 [N]."""
        return np.diff(self.offsets).astype(np.int32)

    @property
    def num_scored(self) -> np.ndarray:
        """The number of scored ids of each text, int32 [N]."""
        return self.lengths - self.first_scored


@dataclass(frozen=True)
class TextTokenizer:
    """A checkpoint's tokenizer with its own default special tokens; made by `load_tokenizer`.

    Fields:
      source: its folder, for messages.
      fingerprint: the sha256, in hexadecimal, of everything that the ids depend on.
      special_rule: the special tokens put around a text by default: "none", "bos", "bos+eos", ...
      size: the largest id that it can produce, plus 1.
      prefix, suffix: the ids put before and after a text.
      kept: a string from which `restore` makes the same tokenizer without its files; None if that
        is impossible.
    """

    source: str
    fingerprint: str
    special_rule: str
    size: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    kept: str | None = field(repr=False, compare=False)
    _reading: Vocabulary = field(repr=False, compare=False)

    @property
    def reading(self) -> Vocabulary:
        """How it reads what stands between prefix and suffix."""
        return self._reading

    def vocabulary(self) -> Mapping[str, int]:
        """Each token and its id."""
        return self._reading.vocabulary()

    def encode(
        self,
        texts: TextSet,
        context: int | None = None,
        on_progress: Callable[[int], object] | None = None,
        per_call: int = _TEXTS_PER_CALL,
    ) -> Tokens:
        """The ids of every text, cut on the right to `context` ids (None: not cut).

        The ids of a plain text are prefix, the text's own ids, suffix; they are scored from the
        second on. A pair of prompt and response is tokenised as one text and scored from the first
        id after the prompt's own ids, so that
        log p(prompt + response) = log p(prompt) + log p(response | prompt). If the ids of the pair
        do not begin with those of the prompt, because a token extends across the border, the
        response is tokenised separately, as a continuation, and follows the prompt's ids. The first
        id is never scored.

        `on_progress` is called with the number of texts just done, at most `per_call`.
        """
        if context is not None and context < 1:
            raise InputError(f"context={context}: a model reads at least 1 token")
        num_texts = len(texts)
        offsets = np.zeros(num_texts + 1, np.int64)
        first_scored = np.zeros(num_texts, np.int32)
        truncated, apart = np.zeros(num_texts, bool), np.zeros(num_texts, bool)
        parts = []
        for start in range(0, num_texts, per_call):
            stop = min(start + per_call, num_texts)
            for n, (ids, first, is_apart) in enumerate(self._slice(texts, start, stop), start):
                length = len(ids) if context is None else min(len(ids), context)
                parts.append(np.array(ids[:length], np.int32))
                offsets[n + 1] = offsets[n] + length
                first_scored[n] = min(first, length)
                truncated[n], apart[n] = length < len(ids), is_apart
            if on_progress is not None:
                on_progress(stop - start)
        all_ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return Tokens(all_ids, offsets, first_scored, truncated, apart)

    def _slice(
        self, texts: TextSet, start: int, stop: int
    ) -> Iterator[tuple[list[int], int, bool]]:
        """(ids, first_scored, apart) of texts start to stop - 1, before they are cut."""
        read, part = self._reading.ids, texts.texts[start:stop]
        if texts.prompts is None:
            for ids in self._of(read, part):
                yield [*self.prefix, *ids, *self.suffix], 1, False
            return
        prompts = texts.prompts[start:stop]
        conditions = self._of(read, prompts)
        wholes = self._of(
            read, [before + after for before, after in zip(prompts, part, strict=True)]
        )
        apart = [
            whole[: len(condition)] != condition
            for condition, whole in zip(conditions, wholes, strict=True)
        ]
        responses = [text for text, is_apart in zip(part, apart, strict=True) if is_apart]
        alone = iter(self._of(self._reading.ids_inside, responses) if responses else ())
        for condition, whole, is_apart in zip(conditions, wholes, apart, strict=True):
            ids = [*condition, *next(alone)] if is_apart else whole
            first = max(1, len(self.prefix) + len(condition))
            yield [*self.prefix, *ids, *self.suffix], first, is_apart

    def _of(self, read: Callable, texts: Sequence[str]) -> list[list[int]]:
        try:
            return read(texts)
        except Exception as error:  # tokenizers raises bare Exceptions, as for a missing <unk>
            raise InputError(
                f"{self.source}: the tokenizer cannot turn the texts into ids ({one_line(error)})"
            ) from error


def load_tokenizer(folder: str | os.PathLike[str]) -> TextTokenizer:
    """The tokenizer in a checkpoint's folder, see `vocabularies` for the files that are read.

    Nothing is downloaded and no code of the checkpoint is run. Raises InputError for a folder
    without a tokenizer, a tokenizer that needs the checkpoint's code, or one that cannot be read.
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
    try:
        pipeline = read_vocabulary(folder, names, tokenizer_config, config)
    except JaxmapError:
        raise
    except Exception as error:  # files of an unexpected form
        raise InputError(f"{folder}: the tokenizer cannot be read ({one_line(error)})") from error
    rule = {
        "prefix": pipeline.prefix,
        "suffix": pipeline.suffix,
        "split_special_tokens": pipeline.split_special_tokens,
    }
    kept = serialised(pipeline.reading, rule)
    ids = pipeline.reading.vocabulary()
    return _tokenizer(kept, _rule_name(pipeline, ids), str(folder), pipeline.reading, rule, ids)


def restore(kept: str, special_rule: str, source: str) -> TextTokenizer:
    """The tokenizer with these `kept` and `special_rule`; raises ValueError if they are damaged."""
    reading, rule = restored(kept)
    return _tokenizer(kept, special_rule, source, reading, rule, reading.vocabulary())


def _tokenizer(
    kept: str,
    special_rule: str,
    source: str,
    reading: Vocabulary,
    rule: Mapping[str, Any],
    ids: Mapping[str, int],
) -> TextTokenizer:
    around = [*rule["prefix"], *rule["suffix"]]
    return TextTokenizer(
        source=source,
        fingerprint=fingerprint(kept),
        special_rule=special_rule,
        size=max(max(ids.values(), default=-1), *around, -1) + 1,
        prefix=tuple(rule["prefix"]),
        suffix=tuple(rule["suffix"]),
        kept=kept,
        _reading=reading,
    )


def _rule_name(pipeline: Pipeline, ids: Mapping[str, int]) -> str:
    wanted = {*pipeline.prefix, *pipeline.suffix}
    tokens = {number: token for token, number in ids.items() if number in wanted}
    of_role = {role: ids.get(token) for role, token in pipeline.roles.items()}
    names = []
    for around, roles in (
        (pipeline.prefix, ("bos", "cls", "eos")),
        (pipeline.suffix, ("eos", "sep", "bos")),
    ):
        for number in around:
            role = next((r for r in roles if of_role.get(f"{r}_token") == number), None)
            names.append(role or tokens.get(number, str(number)))
    return "+".join(names) or "none"


def _refuse_code(folder: Path, tokenizer_config: Mapping[str, Any]) -> None:
    """Raises InputError if the tokenizer is a class in the checkpoint's own code."""
    auto_map = tokenizer_config.get("auto_map")
    if isinstance(auto_map, dict):
        auto_map = auto_map.get("AutoTokenizer")
    if isinstance(auto_map, list):
        auto_map = next((name for name in reversed(auto_map) if name), None)
    if auto_map and not is_known_class(tokenizer_config.get("tokenizer_class")):
        raise InputError(
            f"{folder}: its tokenizer is code of the checkpoint ({auto_map}), which is never run; "
            "convert it to tokenizer.json"
        )
