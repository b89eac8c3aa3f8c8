"""From texts to ids with a checkpoint's vocabulary: the interface, and the tokenizers library."""

from __future__ import annotations

import functools
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# The version of the rule by which a folder's files give ids. 1: the classes of transformers 5,
# prompt and response tokenised separately; 2: tokenizer.json unchanged, the formats' own packages,
# prompt and response tokenised as one text.
RULE = 2
RULE_NAME = "tokens"  # its name among the versions in a record


class Vocabulary(ABC):
    """Turns texts into ids, without the special tokens before and after a text."""

    @abstractmethod
    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, neither cut nor padded."""

    @abstractmethod
    def ids_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as a continuation: nothing is put before its first character."""

    @abstractmethod
    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        """For each of `ids`, the character of its text before which it ends, never decreasing.

        Of the tokens that make up one character together each ends with it.
        """

    @abstractmethod
    def ends_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """As `ends`, for each of `ids_inside`."""

    @abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The readable text of each token; "\ufffd" for a part of a character."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that the ids depend on, as JSON values in a fixed form."""

    @abstractmethod
    def vocabulary(self) -> Mapping[str, int]:
        """The id of each token."""

    @abstractmethod
    def added_ids(self) -> frozenset[int]:
        """The ids of tokens that were added to the vocabulary, such as special tokens."""


class BackendVocabulary(Vocabulary):
    """A vocabulary read by the tokenizers library."""

    def __init__(self, backend: Any):
        self.backend = backend
        backend.no_truncation()
        backend.no_padding()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, neither cut nor padded."""
        # Not encode_batch_fast, which leaves out offsets but takes longer.
        batch = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [one.ids for one in batch]

    def ids_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as a continuation: nothing is put before its first character."""
        return self._inside.ids(texts)

    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        """For each of `ids`, the character of its text before which it ends."""
        # A post-processor may take a space off a token's offsets that belongs to it.
        batch = self._untrimmed.encode_batch(list(texts), add_special_tokens=False)
        return [rising(end for _, end in one.offsets) for one in batch]

    def ends_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """As `ends`, for each of `ids_inside`."""
        return self._inside.ends(texts)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The readable text of each token."""
        byte_level = '"ByteLevel"' in json.dumps(self._state["decoder"])
        if byte_level:
            return [self.backend.decode([i], skip_special_tokens=False) for i in ids]
        return [(self.backend.id_to_token(i) or "").replace("\u2581", " ") for i in ids]

    @functools.cached_property
    def _state(self) -> dict[str, Any]:
        return json.loads(self.backend.to_str())

    @functools.cached_property
    def _untrimmed(self) -> Any:
        backend = type(self.backend).from_str(json.dumps({**self._state, "post_processor": None}))
        backend.encode_special_tokens = self.backend.encode_special_tokens
        backend.no_truncation()
        backend.no_padding()
        return backend

    @functools.cached_property
    def _inside(self) -> BackendVocabulary:
        state = json.loads(self.backend.to_str())
        state["normalizer"] = _without_prefix(state["normalizer"])
        state["pre_tokenizer"] = _without_prefix(state["pre_tokenizer"])
        backend = type(self.backend).from_str(json.dumps(state))
        backend.encode_special_tokens = self.backend.encode_special_tokens
        return BackendVocabulary(backend)

    def state(self) -> dict[str, Any]:
        """tokenizer.json without truncation and padding."""
        state = json.loads(self.backend.to_str())
        # Left over from earlier calls or training; without effect when nothing is padded or cut.
        state["truncation"] = state["padding"] = None
        return state

    def vocabulary(self) -> Mapping[str, int]:
        """The id of each token, added ones among them."""
        return self.backend.get_vocab(with_added_tokens=True)

    def added_ids(self) -> frozenset[int]:
        """The ids of the tokens that were added to the vocabulary."""
        return frozenset(self.backend.get_added_tokens_decoder())


def rising(ends: Iterable[int]) -> list[int]:
    """Replaces each number by the largest up to it, so that none is less than the one before."""
    return list(itertools.accumulate(ends, max))


def _without_prefix(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same normalizer or pre-tokenizer, but one that puts no space before a text."""
    if step is None or step["type"] == "Prepend":
        return None
    step = dict(step)
    if "add_prefix_space" in step:
        step["add_prefix_space"] = False
    if "prepend_scheme" in step:
        step["prepend_scheme"] = "never"
    for name in ("normalizers", "pretokenizers"):
        if name in step:
            step[name] = [one for s in step[name] if (one := _without_prefix(s)) is not None]
    return step
