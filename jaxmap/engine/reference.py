"""A reference model, in memory or by its stored states, to compare a model's predictions with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch
from jaxmap.engine.scorer import Scorer
from jaxmap.engine.unembedding import Reference, Unembedding


class AnyReference(Protocol):
    """What others are compared with; it reads the same ids.

    `vocabulary` is how many tokens it has.
    """

    @property
    def vocabulary(self) -> int:
        """The number of token ids of the reference."""

    def read(self, batch: Batch) -> Reference:
        """What it makes of a batch."""


class ReferenceModel:
    """A model that others are compared with, in memory, on the same mesh.

    Args:
      scorer: from `Scorers.of(model)`.
      model: the model.
    """

    def __init__(self, scorer: Scorer, model: Model):
        self.model = model
        self._scorer = scorer

    @property
    def vocabulary(self) -> int:
        """The number of token ids of the model."""
        return self.model.spec.V

    @functools.cached_property
    def unembedding(self) -> Unembedding:
        """The map from final hidden states to logits."""
        return self._scorer.unembedding(self.model.params)

    def read(self, batch: Batch) -> Reference:
        """The final hidden states of a batch, [B, T, E], and the unembedding."""
        return Reference(self._scorer.states(self.model.params, batch), self.unembedding)


class KeptReference:
    """A model that is not in memory, but for its unembedding: its final hidden states are kept.

    Args:
      states_ME: the state before each scored token, text after text; may be a memory map.
      start_N: the first state of each text of the set that is scored.
      dtype: of the states as they were computed, to which they are taken back.
      unembedding, vocabulary: of the model.
    """

    def __init__(
        self,
        states_ME: np.ndarray,
        start_N: np.ndarray,
        dtype: np.dtype,
        unembedding: Unembedding,
        vocabulary: int,
    ):
        self.vocabulary = vocabulary
        self._states_ME, self._start_N, self._dtype = states_ME, start_N, dtype
        self._unembedding = unembedding

    def of_texts(self, chosen: Sequence[int]) -> KeptReference:
        """That of some of the texts, as a set of their own."""
        start_N = self._start_N[list(chosen)]
        return KeptReference(
            self._states_ME, start_N, self._dtype, self._unembedding, self.vocabulary
        )

    def read(self, batch: Batch) -> Reference:
        """What it made of a batch; zeros where nothing is scored."""
        B, T = batch.ids_BT.shape
        states_BTE = np.zeros((B, T, self._states_ME.shape[1]), self._dtype)
        for text, row, first, stop in zip(
            batch.text, batch.row, batch.first, batch.stop, strict=True
        ):
            start = self._start_N[text]
            states_BTE[row, first:stop] = self._states_ME[start : start + stop - first]
        return Reference(jnp.asarray(states_BTE), self._unembedding)
