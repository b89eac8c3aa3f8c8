"""From texts to ids with a checkpoint's vocabulary: the interface, and its two libraries."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jaxmap.errors import InputError

# The version of the rule by which a folder's files give ids. 1: the classes of transformers 5,
# prompt and response tokenised separately; 2: tokenizer.json unchanged, the formats' own packages,
# prompt and response tokenised as one text.
RULE = 2
RULE_NAME = "tokens"  # its name among the versions in a record


class Reading(ABC):
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
        """The same for each of `ids_inside`."""

    @abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each token stands for, for people; "\ufffd" for a part of a character."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that the ids depend on, as JSON values in a fixed form."""

    @abstractmethod
    def vocabulary(self) -> Mapping[str, int]:
        """The id of each token."""


class BackendReading(Reading):
    """A vocabulary read by the tokenizers library."""

    def __init__(self, backend: Any):
        self.backend = backend
        backend.no_truncation()
        backend.no_padding()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        # Not encode_batch_fast, which leaves out offsets but takes longer.
        batch = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [one.ids for one in batch]

    def ids_inside(self, texts: Sequence[str]) -> list[list[int]]:
        return self._inside.ids(texts)

    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        # A post-processor may take a space off a token's offsets that belongs to it.
        batch = self._untrimmed.encode_batch(list(texts), add_special_tokens=False)
        return [_rising(end for _, end in one.offsets) for one in batch]

    def ends_inside(self, texts: Sequence[str]) -> list[list[int]]:
        return self._inside.ends(texts)

    def pieces(self, ids: Sequence[int]) -> list[str]:
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
    def _inside(self) -> BackendReading:
        state = json.loads(self.backend.to_str())
        state["normalizer"] = _without_prefix(state["normalizer"])
        state["pre_tokenizer"] = _without_prefix(state["pre_tokenizer"])
        backend = type(self.backend).from_str(json.dumps(state))
        backend.encode_special_tokens = self.backend.encode_special_tokens
        return BackendReading(backend)

    def state(self) -> dict[str, Any]:
        state = json.loads(self.backend.to_str())
        # Left over from earlier calls or training; without effect when nothing is padded or cut.
        state["truncation"] = state["padding"] = None
        return state

    def vocabulary(self) -> Mapping[str, int]:
        return self.backend.get_vocab(with_added_tokens=True)


def _rising(ends: Iterable[int]) -> list[int]:
    """Each at least the one before."""
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


class SentencePieceReading(Reading):
    """A SentencePiece model, read by the sentencepiece package.

    Args:
      model: the file's bytes.
      tokens: ids of the tokens that are searched in a text first; SentencePiece reads the rest.
      strips: for some of these tokens, whether they include the space before ("l") or after ("r")
        them, or both ("lr").
      prefix: whether a space is put before a text, as in the model's training.
      everywhere: whether a space is also put after each token found (transformers' `legacy`).
      numbers: the ids of the model's pieces, if they differ from the model's own.
    """

    def __init__(
        self,
        model: bytes,
        tokens: Mapping[str, int],
        prefix: bool,
        everywhere: bool,
        numbers: Sequence[int] | None = None,
        strips: Mapping[str, str] = MappingProxyType({}),
    ):
        self._model, self._tokens, self._strips = model, dict(tokens), dict(strips)
        self._numbers = None if numbers is None else list(numbers)
        self._prefix, self._everywhere = prefix, everywhere
        longest_first = sorted(self._tokens, key=len, reverse=True)
        pattern = "|".join(
            r"\s*" * ("l" in sides) + re.escape(token) + r"\s*" * ("r" in sides)
            for token, sides in ((token, self._strips.get(token, "")) for token in longest_first)
        )
        self._found = re.compile(f"({pattern})") if pattern else None
        self._start, self._rest = (
            processor(model, prefix=wanted) for wanted in (prefix, prefix and everywhere)
        )
        self._none = processor(model, prefix=False)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(texts, self._start, self._rest)

    def ids_inside(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(texts, self._none, self._rest)

    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        return self._ends(texts, self._start, self._rest)

    def ends_inside(self, texts: Sequence[str]) -> list[list[int]]:
        return self._ends(texts, self._none, self._rest)

    def _ends(self, texts: Sequence[str], start: Any, rest: Any) -> list[list[int]]:
        out = []
        for text in texts:
            ends: list[int] = []
            before = 0
            for n, part in enumerate(self._found.split(text) if self._found else [text]):
                if n % 2:
                    ends.append(before + len(part))
                elif part:
                    surfaces = _surfaces(rest if n else start, part)
                    ends += [before + end for end in itertools.accumulate(map(len, surfaces))]
                before += len(part)
            out.append(_rising(ends))
        return out

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces.get(i, "").replace("\u2581", " ") for i in ids]

    @functools.cached_property
    def _pieces(self) -> dict[int, str]:
        return {number: piece for piece, number in self.vocabulary().items()}

    def _encode(self, texts: Sequence[str], start: Any, rest: Any) -> list[list[int]]:
        out = []
        for text in texts:
            ids: list[int] = []
            for n, part in enumerate(self._found.split(text) if self._found else [text]):
                if n % 2:
                    ids.append(self._tokens[part if part in self._tokens else part.strip()])
                elif part:
                    pieces = (rest if n else start).encode(part)
                    ids += (
                        pieces if self._numbers is None else map(self._numbers.__getitem__, pieces)
                    )
            out.append(ids)
        return out

    def state(self) -> dict[str, Any]:
        return {
            "type": "sentencepiece",
            "model": base64.b64encode(self._model).decode(),
            "tokens": self._tokens,
            "prefix": self._prefix,
            "everywhere": self._everywhere,
            "numbers": self._numbers,
            "strips": self._strips,
        }

    def vocabulary(self) -> Mapping[str, int]:
        numbers = self._numbers or range(self._none.get_piece_size())
        return {self._none.id_to_piece(n): i for n, i in enumerate(numbers)} | self._tokens


def _surfaces(model: Any, text: str) -> list[str]:
    """What each piece stands for in the text; of the bytes of a character, the last has it."""
    try:
        found = model.encode(text, return_type="proto")
    except TypeError:  # before version 0.2.2
        found = model.encode(text, out_type="immutable_proto")
    return [piece.surface for piece in found.pieces]


def processor(model: bytes, prefix: bool | None = None) -> Any:
    """A SentencePieceProcessor; `prefix` overrides the model's add_dummy_prefix.

    Raises InputError if the sentencepiece package is missing, ValueError if `model` is no model.
    """
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise InputError(
            "a SentencePiece model needs the sentencepiece package: pip install sentencepiece"
        ) from None
    if prefix is not None:
        # Protocol buffers merge a message that occurs twice. Field 3 of the model is its
        # normalizer_spec, whose field 3 is add_dummy_prefix.
        model = model + b"\x1a\x02\x18" + bytes([prefix])
    found = SentencePieceProcessor()
    if re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", model):  # lines of tiktoken, for which the package
        raise ValueError("not a SentencePiece model")  # would print errors
    try:
        found.load_from_serialized_proto(model)
    except RuntimeError as error:
        raise ValueError("not a SentencePiece model") from error
    if not found.get_piece_size():
        raise ValueError("not a SentencePiece model: it has no pieces")
    return found


def serialised(reading: Reading, rule: Mapping[str, Any]) -> str:
    """Everything that ids depend on, in an order independent of library versions and files."""
    return json.dumps([reading.state(), rule], sort_keys=True)


def fingerprint(text: str) -> str:
    """The sha256 of the serialised form, in hexadecimal."""
    return hashlib.sha256(b"jaxmap tokenizer 1\n" + text.encode("utf-8")).hexdigest()


def restored(text: str) -> tuple[Reading, dict[str, Any]]:
    """The inverse of `serialised`; raises ValueError if the result would not be the same."""
    from tokenizers import Tokenizer

    state, rule = json.loads(text)
    reading: Reading
    try:
        if state.get("type") == "sentencepiece":
            model = base64.b64decode(state["model"])
            options = {name: state[name] for name in state if name not in ("type", "model")}
            reading = SentencePieceReading(model, **options)
        else:
            backend = Tokenizer.from_str(json.dumps(state))
            backend.encode_special_tokens = rule["split_special_tokens"]
            reading = BackendReading(backend)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(f"cannot be read ({error})") from error
    if serialised(reading, rule) != text:
        raise ValueError("something else is read from it")
    return reading, rule
