"""A model and its quantised copies, in one arithmetic and in another."""

from __future__ import annotations

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.quantize import quantised


class Copies:
    """Copies of a checkpoint, made when they are wanted; it is loaded once in each arithmetic.

    Args:
      checkpoint: the checkpoint.
      dtype, other: see PRECISIONS.
      there: the model in the first, where it is in memory already.
    """

    def __init__(
        self, checkpoint: Checkpoint, dtype: str, other: str, there: weights.Model | None = None
    ):
        self._checkpoint, self._dtype, self._other = checkpoint, dtype, other
        self._model = there
        self._moved: weights.Model | None = None

    def get(self, quantisation: str) -> weights.Model:
        """The copy; "none" is the model itself."""
        if self._model is None:
            self._model = weights.load(self._checkpoint, dtype=self._dtype)
        return quantised(self._model, quantisation)

    def in_other(self, quantisation: str) -> weights.Model:
        """The copy in the other arithmetic."""
        if self._moved is None:
            self._moved = weights.load(self._checkpoint, dtype=self._other)
        return quantised(self._moved, quantisation)
