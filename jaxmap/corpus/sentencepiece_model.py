"""Folders whose vocabulary is a SentencePiece model (tokenizer.model) without tokenizer.json.

The sentencepiece package itself reads them, so the ids are those that the model was trained with.
Special tokens that are spelt out in a text are found first, as transformers does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from jaxmap.corpus.reading import SentencePieceReading, processor
from jaxmap.corpus.special_tokens import read_special_tokens, switched_tokens
from jaxmap.corpus.tokenizer_classes import FastClass, fast_class
from jaxmap.corpus.tokenizer_json import Pipeline

# Classes whose ids are not those of the model's pieces: an offset, pieces of their own.
OTHER_IDS = {
    "AlbertTokenizer",
    "BarthezTokenizer",
    "BigBirdTokenizer",
    "CamembertTokenizer",
    "CpmTokenizer",
    "GPTSw3Tokenizer",
    "MBartTokenizer",
    "PegasusTokenizer",
    "ReformerTokenizer",
    "RemBertTokenizer",
    "T5Tokenizer",
    "XGLMTokenizer",
    "XLMRobertaTokenizer",
    "XLNetTokenizer",
}


def read_sentencepiece(
    path: Path, tokenizer_config: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> Pipeline | None:
    """The tokenizer of a SentencePiece model; None where the file is something else.

    Raises InputError without the sentencepiece package.
    """
    from tokenizers import AddedToken

    model = path.read_bytes()
    try:
        pieces = processor(model)
    except ValueError:
        return None
    settings = tokenizer_config or {}
    kind = fast_class(settings, config)
    special = read_special_tokens(path.parent, settings, kind, {})
    tokens = _control_pieces(pieces)
    following = pieces.get_piece_size()
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
        tokens[content] = known
    reading = SentencePieceReading(
        model,
        {} if settings.get("split_special_tokens") else tokens,
        prefix=_wants_prefix(path, pieces, kind, settings),
        everywhere=settings.get("legacy") is not False,
    )
    before, after = switched_tokens(path.parent, kind, settings, special.roles, tokens.get)
    return Pipeline(
        reading, tuple(tokens[t] for t in before), tuple(tokens[t] for t in after), special.roles
    )


def _control_pieces(pieces: Any) -> dict[str, int]:
    every = range(pieces.get_piece_size())
    return {pieces.id_to_piece(n): n for n in every if pieces.is_control(n)}


def _wants_prefix(path: Path, pieces: Any, kind: FastClass, settings: Mapping[str, Any]) -> bool:
    """Whether a space goes before a text: add_prefix_space where it is given, else the model's."""
    own = pieces.normalize("a") != "a"
    wanted = settings.get("add_prefix_space")
    if kind.prefix_space != "sentencepiece" or not isinstance(wanted, bool) or wanted == own:
        return own
    logging.info(
        "%s: add_prefix_space is %s in tokenizer_config.json and %s in the model; taken as "
        "transformers 4 did: %s",
        path,
        wanted,
        own,
        wanted,
    )
    return wanted
