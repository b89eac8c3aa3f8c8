"""A checkpoint in memory, with the token ids of the texts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from absl import logging

from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.corpus.token_cache import Tokenised
from jaxmap.corpus.tokens import Tokens


class ModelFacts(Protocol):
    """What a record says of a model, whatever the engine; see `checkpoint.weights.Model`."""

    @property
    def model_type(self) -> str:
        """The model_type of config.json."""

    @property
    def dtype(self) -> str:
        """The precision in which the model is scored."""

    @property
    def stored_dtype(self) -> str:
        """The dtype of most weights on disk."""

    @property
    def num_parameters(self) -> int:
        """The number of weights."""

    @property
    def num_layers(self) -> int | None:
        """The number of layers; None where the engine does not know it."""

    @property
    def context(self) -> int | None:
        """The longest text in tokens, to which others are cut; None for no limit."""

    @property
    def dense_up_to(self) -> int | None:
        """The longest text in tokens of which queries see all keys; None for no limit."""


M = TypeVar("M", bound=ModelFacts, covariant=True)


@dataclass(frozen=True)
class LoadedCheckpoint(Generic[M]):
    """A checkpoint in memory, with the token ids of the texts by its tokenizer."""

    files: CheckpointFiles
    model: M
    texts: Tokenised

    @property
    def ids_hash(self) -> str:
        """The sha256 of the ids of all texts, in hexadecimal."""
        tokens = self.texts.tokens
        return hashlib.sha256(tokens.ids.tobytes() + tokens.offsets.tobytes()).hexdigest()


def log_texts(files: CheckpointFiles, tokens: Tokens, context: int | None) -> None:
    """Logs how many texts were cut, and how many responses were tokenised separately."""
    if tokens.truncated.any():
        logging.warning(
            "%s: %d of %d texts are longer than the model's context of %d tokens and were cut",
            files.ref,
            tokens.truncated.sum(),
            len(tokens),
            context,
        )
    if tokens.apart.any():
        logging.info(
            "%s: %d of %d responses are tokenised separately from their prompt, because a token "
            "would extend across the border",
            files.ref,
            tokens.apart.sum(),
            len(tokens),
        )
