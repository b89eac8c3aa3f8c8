"""Turns texts into token ids by the tokenizer of a checkpoint.

A text gets the special tokens that the tokenizer puts around it by default, no more and no fewer.
transformers is imported only for a folder without tokenizer.json whose format nothing else reads.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.corpus.reading import Reading, fingerprint, restored, serialised
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokenizer_classes import is_known_class
from jaxmap.corpus.tokenizer_files import VOCABULARIES, files_in, one_line, read_json
from jaxmap.corpus.tokenizer_json import Pipeline
from jaxmap.corpus.vocabularies import read_vocabulary
from jaxmap.errors import InputError, JaxmapError

_TEXTS_PER_CALL = 1000


@dataclass(frozen=True)
class Tokens:
    """The ids of a TextSet, one text after another.

    ids: int32 [total], offsets: int64 [N + 1]; text n is ids[offsets[n]:offsets[n + 1]].
    first_scored: int32 [N], the first id of the text that is scored (at least 1, since the first
    id is a condition); its length where nothing is scored. truncated: bool [N]. apart: bool [N],
    responses tokenised apart from their prompt, because no token ends where the prompt does.
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
    _reading: Reading = field(repr=False, compare=False)

    def encode(
        self,
        texts: TextSet,
        context: int | None = None,
        on_progress: Callable[[int], object] | None = None,
        per_call: int = _TEXTS_PER_CALL,
    ) -> Tokens:
        """Ids of every text, cut on the right to `context` ids (None: never cut).

        Plain text: prefix, the text's ids, suffix; scored from the second on. Pair: the ids of
        prompt and response as one text, scored from the first after the prompt's own ids, so that
        log p(prompt + response) = log p(prompt) + log p(response | prompt). Where the whole's ids
        do not begin with the prompt's, as a token reaches across the border, the response is
        tokenised apart, as a text that goes on, and follows the prompt's ids. Id 0 is never scored.
        on_progress is called with the number of texts just done, at most per_call.
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
        """(ids, first scored id, whether apart) of texts start to stop, before any cut."""
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
    try:
        pipeline = read_vocabulary(folder, names, tokenizer_config, config)
    except JaxmapError:
        raise
    except Exception as error:  # of files in no form that anyone foresaw
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
    """The tokenizer whose `kept` and `special_rule` these are; ValueError where it is not."""
    reading, rule = restored(kept)
    return _tokenizer(kept, special_rule, source, reading, rule, reading.vocabulary())


def _tokenizer(
    kept: str,
    special_rule: str,
    source: str,
    reading: Reading,
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
