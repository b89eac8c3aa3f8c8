"""KL between neighbouring saved checkpoints of each run: figure 4 of Kishino et al. 2026."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.recipes import Recipe
from jaxmap.analysis.run_pairs import GROUP
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.results import Result
from jaxmap.stats.divergence import kl_pairs
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "trajectory", "from_step", "to_step", "kl_bits_per_byte", "standard_error", "recipe", "group",
    "unit",
)  # fmt: skip


@dataclass(frozen=True)
class RunSteps:
    """The intervals between neighbouring checkpoints of one run, in the order of training.

    Fields:
      run: the name of the run.
      start_I, end_I: times in `unit` (step or token), int64.
      kl_I, error_I: KL and standard error in bits per byte, float64; NaN for an interval that was
        left out, which is drawn as a gap.
      during_I: whether the interval ends during warmup, bool.
    """

    run: str
    start_I: np.ndarray
    end_I: np.ndarray
    kl_I: np.ndarray
    error_I: np.ndarray
    during_I: np.ndarray
    unit: str = "step"


@dataclass(frozen=True)
class Consecutive(Result):
    """The intervals of all runs, cleaned for pretraining.

    `warmup_steps` is the step at which warmup ends; None if the runs differ in it. `run_names` are
    all runs, by whose order lines have their styles.
    """

    runs: tuple[RunSteps, ...]
    warmup_steps: int | None
    recipe: Recipe = "jaxmap"
    group: str = GROUP
    run_names: tuple[str, ...] = ()

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per interval, with the columns of consecutive.csv."""
        return to_frame(COLUMNS, self._rows())

    def draw(self) -> Figures:
        """consecutive: KL of each interval, during and after warmup; no figure if all are zero."""
        from jaxmap.figures import consecutive

        return Figures(consecutive=consecutive.draw(self))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes consecutive.csv and the figure."""
        return [self.write_table(folder), *save_figures(self.draw(), folder)]

    def write_table(self, folder: str | Path) -> Path:
        """Writes consecutive.csv, the table of `to_dataframe`."""
        return write_csv(Path(folder) / "consecutive.csv", COLUMNS, self._rows())

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.runs:
            columns = (one.start_I, one.end_I, one.kl_I, one.error_I)
            for row in zip(*(column.tolist() for column in columns), strict=True):
                yield (one.run, *row, self.recipe, self.group, one.unit)


def measure_consecutive(
    pre: Pretraining, recipe: Recipe = "jaxmap", group: str = GROUP
) -> Consecutive:
    """The KL of each interval between neighbouring saved checkpoints; NaN for a gap."""
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        if not (rows >= 0).any() or len(rows) < 2:
            continue
        kl_I = np.full(len(rows) - 1, np.nan)
        error_I = kl_I.copy()
        there = (rows[:-1] >= 0) & (rows[1:] >= 0)
        pairs_P2 = np.stack([rows[:-1][there], rows[1:][there]], axis=1)
        kl_I[there], error_I[there] = kl_pairs(pre.ll_KN, pairs_P2, pre.mean_bytes)
        during_I = run.steps[1:] <= run.warmup
        times = run.times
        found.append(RunSteps(run.name, times[:-1], times[1:], kl_I, error_I, during_I, run.unit))
    ends = {run.warmup for run in pre.runs if run.warmup} or {0}
    in_steps = all(run.named_unit == "step" for run in pre.runs)
    end = ends.pop() if len(ends) == 1 and in_steps else None
    return Consecutive(tuple(found), end, recipe, group, pre.run_names)
