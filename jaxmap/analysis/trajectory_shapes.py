"""The shapes of training paths: length, straightness, and whether they wind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.progress import progress
from jaxmap.stats.centre import coordinates
from jaxmap.stats.winding import DRAWS, PathStatistics, Winding, path_statistics, winding

COLUMNS = (
    "trajectory", "from_step", "checkpoints", "length", "net_displacement", "straightness",
    "turns", "p_value", "dimension", "plane_variance",
)  # fmt: skip


@dataclass(frozen=True)
class PathShape:
    """The shape of a training run's path from a step on.

    Fields:
      run: the name of the run.
      from_step: the first step.
      checkpoints: the number of checkpoints that were kept.
      statistics: length, displacement and straightness.
      winding: its turns; None if there are too few checkpoints.
    """

    run: str
    from_step: int
    checkpoints: int
    statistics: PathStatistics
    winding: Winding | None

    @property
    def numbers(self) -> tuple[float | None, ...]:
        """Length, net displacement, straightness, turns, p value, dimension, plane variance.

        Unknown numbers are None.
        """
        turning = self.winding[:4] if self.winding else (None,) * 4
        every = (*self.statistics, *turning)
        return tuple(None if one is None or np.isnan(one) else float(one) for one in every)

    def row(self) -> tuple[object, ...]:
        """The row of path_statistics.csv."""
        return self.run, self.from_step, self.checkpoints, *self.numbers


def measure_paths(pre: Pretraining, draws: int = DRAWS) -> tuple[PathShape, ...]:
    """Measures the shape of each run, from its start and from the end of warmup.

    The first steps of training are so long that they determine the shape of the whole path. A
    checkpoint that was left out is skipped: the path goes straight from the one before to the next.
    """
    x_KN = coordinates(pre.ll_KN, pre.mean_bytes)
    found = []
    with progress(len(pre.runs), "paths", "run", leave=False) as bar:
        for run, rows in zip(pre.runs, pre.rows, strict=True):
            kept = np.flatnonzero(rows >= 0)
            for part in (kept, kept[run.steps[kept] >= run.warmup]):
                if len(part) < 2 or (part is not kept and len(part) == len(kept)):
                    continue
                x_IN = x_KN[rows[part]]
                first, count = int(run.times[part[0]]), len(part)
                shape = path_statistics(x_IN)
                found.append(PathShape(run.name, first, count, shape, winding(x_IN, draws)))
            bar.update()
    return tuple(found)
