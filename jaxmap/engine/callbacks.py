"""Callbacks by which the caller of the scorer follows, interrupts and resumes a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxmap.corpus.batches import BatchPlan


class Stopped(Exception):
    """Raised when a run was asked to stop; the results so far are saved."""


class Resumable(Protocol):
    """Keeps the results of the batches done so far, so that an interrupted run can resume."""

    def begin(self, plan: BatchPlan, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Fills `arrays` with earlier results; returns which batches they cover, bool [B].

        The object keeps the arrays and the returned mask and saves what is written into them.
        """

    def note(self, batch: int) -> None:
        """Marks a batch as written to the arrays, and saves if the last save is long ago."""

    def save(self) -> None:
        """Saves the results so far."""


def _never() -> bool:
    return False


def _no_progress(done: int, of: int) -> None:
    pass


def _alone(done_B: np.ndarray) -> np.ndarray:
    return done_B


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of a run.

    Fields:
      resumable: saves results, and restores those of an interrupted run; None: nothing is saved.
      stop: called before every batch; if it returns true, the batches in progress are finished and
        saved, and Stopped is raised.
      progress: called after every batch with the number of texts done and the number of all texts.
      agree: maps the batches that this process has done, bool [B], to a mask that is the same in
        all processes that score together.
    """

    resumable: Resumable | None = None
    stop: Callable[[], bool] = _never
    progress: Callable[[int, int], object] = _no_progress
    agree: Callable[[np.ndarray], np.ndarray] = _alone


SILENT = Callbacks()  # does nothing
