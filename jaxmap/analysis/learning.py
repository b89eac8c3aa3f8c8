"""Learning curves: the bits per byte of each checkpoint of a store's training runs."""

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
    """The learning curve of one run.

    Fields:
      run: the run.
      step_I: its times (steps or tokens, see `Run.unit`), int64.
      bits_I, error_I: bits per byte and one standard error, float64; NaN for an absent checkpoint,
        which is drawn as a gap.
    """

    run: Run
    step_I: np.ndarray
    bits_I: np.ndarray
    error_I: np.ndarray

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def there(self) -> np.ndarray:
        """The indices of the checkpoints that are not absent, int64."""
        return np.flatnonzero(np.isfinite(self.bits_I))


@dataclass(frozen=True)
class Learning(Result):
    """The raw bits per byte of the checkpoints of each run.

    `run_names` are all runs, by whose order lines have their styles.
    """

    curves: tuple[LearningCurve, ...]
    run_names: tuple[str, ...] = ()

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
    """Measures the bits per byte of each run's checkpoints; a PMI store has no curves.

    A checkpoint that is absent or left out by cleaning is NaN; a run left out has no curve.
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
    return Learning(tuple(found), pre.run_names if pre else ())
