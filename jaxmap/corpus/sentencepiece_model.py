"""Folders whose vocabulary is a SentencePiece model (tokenizer.model) without tokenizer.json.

The sentencepiece package itself reads them, so the ids are those that the model was trained with.
Special tokens that occur in a text are found first, as in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from jaxmap.corpus.sentencepiece_vocabulary import SentencePieceVocabulary, processor
from jaxmap.corpus.special_tokens import read_special_tokens, switched_tokens
from jaxmap.corpus.tokenizer_classes import FastClass, fast_class
from jaxmap.corpus.tokenizer_json import Pipeline
from jaxmap.errors import InputError

# Classes whose ids differ from those of the model's pieces; they are refused.
_OTHER_IDS = (
    "AlbertTokenizer BarthezTokenizer BigBirdTokenizer CamembertTokenizer CpmTokenizer "
    "GPTSw3Tokenizer MBartTokenizer PegasusTokenizer ReformerTokenizer RemBertTokenizer "
    "T5Tokenizer XLMRobertaTokenizer XLNetTokenizer"
).split()


def read_sentencepiece(
    path: Path, tokenizer_config: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> Pipeline | None:
    """The tokenizer of a SentencePiece model; None if the file is something else.

    Raises InputError if the sentencepiece package is missing.
    """
    from tokenizers import AddedToken

    model = path.read_bytes()
    try:
        pieces = processor(model)
    except ValueError:
        return None
    settings = tokenizer_config or {}
    named = str(settings.get("tokenizer_class")).removesuffix("Fast")
    if named in _OTHER_IDS:
        raise InputError(
            f"{path}: {named} has other ids than the model's pieces and is not supported; convert "
            "it to tokenizer.json"
        )
    kind = fast_class(settings, config)
    numbers = _fairseq_numbers(pieces) if kind.name == "XGLMTokenizer" else None
    special = read_special_tokens(path.parent, settings, kind, {})
    tokens = _control_pieces(pieces, numbers)
    following = pieces.get_piece_size() + (numbers is not None)
    for index, token in sorted(special.added.items()):
        tokens[token.content] = index
        following = max(following, index + 1)
    for token in special.named:
        content = token.content if isinstance(token, AddedToken) else token
        if content in tokens:
            continue
        known = pieces.piece_to_id(content)
        if known == pieces.unk_id() and content != pieces.id_to_piece(known):
            known, following = following, following + 1
        elif numbers is not None:
            known = numbers[known]
        tokens[content] = known
    reading = SentencePieceVocabulary(
        model,
        {} if settings.get("split_special_tokens") else tokens,
        prefix=_wants_prefix(path, pieces, kind, settings),
        everywhere=kind.prefix_space != "sentencepiece" or settings.get("legacy") is not False,
        numbers=numbers,
        strips=_strips([*special.added.values(), *special.named]),
    )
    if numbers is None:
        before, after = switched_tokens(path.parent, kind, settings, special.roles, tokens.get)
    else:
        before, after = ["</s>"], []  # always, for XGLM
    return Pipeline(
        reading, tuple(tokens[t] for t in before), tuple(tokens[t] for t in after), special.roles
    )


def _fairseq_numbers(pieces: Any) -> list[int]:
    """The ids of a SentencePiece model's pieces in fairseq's order (XGLMTokenizer).

    <s>, <pad>, </s> and <unk> come first; the ids of the other pieces are one higher.
    """
    first = {"<s>": 0, "</s>": 2, "<unk>": 3}
    every = range(pieces.get_piece_size())
    return [first.get(pieces.id_to_piece(n), n + 1) for n in every]


def _strips(tokens: Sequence[Any]) -> dict[str, str]:
    """The tokens that include spaces beside them, see `SentencePieceVocabulary`."""
    sides = {
        token.content: "l" * token.lstrip + "r" * token.rstrip
        for token in tokens
        if not isinstance(token, str)
    }
    return {content: side for content, side in sides.items() if side}


def _control_pieces(pieces: Any, numbers: Sequence[int] | None) -> dict[str, int]:
    every = range(pieces.get_piece_size())
    ids = numbers or every
    return {pieces.id_to_piece(n): ids[n] for n in every if pieces.is_control(n)}


def _wants_prefix(path: Path, pieces: Any, kind: FastClass, settings: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text: by add_prefix_space, otherwise by the model."""
    own = pieces.normalize("a") != "a"
    wanted = settings.get("add_prefix_space")
    if kind.prefix_space != "sentencepiece" or not isinstance(wanted, bool) or wanted == own:
        return own
    logging.info(
        "%s: add_prefix_space is %s in tokenizer_config.json and %s in the model; used as by "
        "transformers 4: %s",
        path,
        wanted,
        own,
        wanted,
    )
    return wanted
