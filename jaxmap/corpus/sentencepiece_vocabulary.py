"""From texts to ids with a SentencePiece model, by the sentencepiece package."""

from __future__ import annotations

import base64
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jaxmap.corpus.vocabulary import Vocabulary, rising
from jaxmap.errors import InputError


class SentencePieceVocabulary(Vocabulary):
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
        """The ids of each text, neither cut nor padded."""
        return self._encode(texts, self._start, self._rest)

    def ids_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as a continuation, without the prefix of a first word."""
        return self._encode(texts, self._none, self._rest)

    def ends(self, texts: Sequence[str]) -> list[list[int]]:
        """For each of `ids`, the character of its text before which it ends."""
        return self._ends(texts, self._start, self._rest)

    def ends_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """As `ends`, for each of `ids_inside`."""
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
            out.append(rising(ends))
        return out

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The readable text of each token; "" for an id that the model lacks."""
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
        """The model in base64 and the rules beside it, as JSON values."""
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
        """The id of each token."""
        numbers = self._numbers or range(self._none.get_piece_size())
        return {self._none.id_to_piece(n): i for n, i in enumerate(numbers)} | self._tokens

    def added_ids(self) -> frozenset[int]:
        """The ids of the tokens that were added to the model."""
        return frozenset(self._tokens.values())


def _surfaces(model: Any, text: str) -> list[str]:
    """The characters that each piece covers; of the bytes of one character, the last has it."""
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
