"""What a caller of the scorer is told and asked while batches are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxmap.corpus.batches import Plan


class Stopped(Exception):
    """The run was told to end; what is done is saved."""


class Resumable(Protocol):
    """Keeps the results of the batches done so far, so that an interrupted run can resume."""

    def begin(self, plan: Plan, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Fills the arrays with what was done before; returns which batches that is, bool [B].

        The arrays and what is returned are kept: what is written into them later is saved.
        """

    def note(self, batch: int) -> None:
        """Says that a batch's results are in the arrays, and saves when it is time to."""

    def save(self) -> None:
        """Writes what is done."""


def _never() -> bool:
    return False


def _untold(done: int, of: int) -> None:
    pass


def _alone(done_B: np.ndarray) -> np.ndarray:
    return done_B


@dataclass(frozen=True)
class Callbacks:
    """How a run is followed, interrupted and resumed.

    Fields:
      resumable: keeps what is done, and may know what was done before; None: nothing is kept.
      stop: asked before every batch; when true, what is under way is finished and saved, and
        Stopped is raised.
      tell: is told after every batch how many texts are done, and of how many.
      agree: given which batches this process has done, bool [B], returns the same answer in all
        processes that score together.
    """

    resumable: Resumable | None = None
    stop: Callable[[], bool] = _never
    tell: Callable[[int, int], object] = _untold
    agree: Callable[[np.ndarray], np.ndarray] = _alone


SILENT = Callbacks()  # nothing is told, asked or kept
