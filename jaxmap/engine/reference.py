"""A reference model in memory beside the scored model, whose predictions are compared."""

from __future__ import annotations

import functools

from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch
from jaxmap.engine.scorer import Scorer
from jaxmap.engine.unembedding import Reference, Unembedding


class ReferenceModel:
    """A model with which others are compared; it has the same token ids and the same mesh.

    Args:
      scorer: from `Scorers.of(model)`.
      model: the model.
    """

    def __init__(self, scorer: Scorer, model: Model):
        self.model = model
        self._scorer = scorer

    @functools.cached_property
    def _unembedding(self) -> Unembedding:
        return self._scorer.unembedding(self.model.params)

    def read(self, batch: Batch) -> Reference:
        """The model's final hidden states for a batch, with its unembedding."""
        return Reference(self._scorer.states(self.model.params, batch), self._unembedding)
