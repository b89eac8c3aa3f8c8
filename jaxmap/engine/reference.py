"""Another model, in memory beside the one that is scored, to compare its predictions with."""

from __future__ import annotations

import functools

from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch
from jaxmap.engine.scorer import Scorer
from jaxmap.engine.unembedding import Reference, Unembedding


class ReferenceModel:
    """A model that others are compared with; it reads the same ids, on the same mesh.

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
        """What it makes of a batch."""
        return Reference(self._scorer.states(self.model.params, batch), self._unembedding)
