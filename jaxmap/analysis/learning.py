"""What the training runs of a store learn: bits per byte of each checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.runs import Run
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.results import Result
from jaxmap.stats.bits_per_byte import bits_per_byte
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = ("trajectory", "step", "bits_per_byte", "standard_error", "unit")


@dataclass(frozen=True)
class LearningCurve:
    """One run: step_I int64, its times (steps or tokens, see `Run.unit`); bits_I and error_I (one
    standard error) in bits per byte, float64.

    NaN is a checkpoint that is not there, and is drawn as a gap.
    """

    run: Run
    step_I: np.ndarray
    bits_I: np.ndarray
    error_I: np.ndarray

    @property
    def name(self) -> str:
        """The run's."""
        return self.run.name

    @property
    def there(self) -> np.ndarray:
        """Places of the checkpoints that are there, int64."""
        return np.flatnonzero(np.isfinite(self.bits_I))


@dataclass(frozen=True)
class Learning(Result):
    """Bits per byte of the checkpoints of each run, uncleaned."""

    curves: tuple[LearningCurve, ...]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per checkpoint: trajectory, step, bits_per_byte, standard_error, unit."""
        return to_frame(COLUMNS, self._rows())

    def draw(self) -> Figures:
        """learning: bits per byte against training step; none without runs."""
        from jaxmap.figures import learning

        return Figures(learning=learning.draw(self))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes learning.csv and the figure."""
        path = write_csv(Path(folder) / "learning.csv", COLUMNS, self._rows())
        return [path, *save_figures(self.draw(), folder)]

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.curves:
            columns = (one.step_I, one.bits_I, one.error_I)
            for row in zip(*(column.tolist() for column in columns), strict=True):
                yield (one.name, *row, one.run.unit)


def measure_learning(context: Context) -> Learning:
    """Bits per byte of the checkpoints of each run; none in a PMI store.

    A checkpoint that is absent or left out by cleaning is NaN; a run left out is not there.
    """
    pre = context.timeline if context.has_losses else None
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True) if pre else ():
        kept = np.flatnonzero(rows >= 0)
        if not len(kept):
            continue
        bits_I = np.full(len(rows), np.nan)
        error_I = bits_I.copy()
        entries = [entry for entry in (run.entries[i] for i in kept) if entry is not None]
        text_bytes = context.store.texts.text_bytes
        bits_I[kept], error_I[kept] = bits_per_byte(context.vectors(entries), text_bytes)
        found.append(LearningCurve(run, run.times, bits_I, error_I))
    return Learning(tuple(found))
