"""`jaxmap diffusion`: growth of distance in training; tables, and figures 4 and 5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.consecutive import Consecutive, measure_consecutive
from jaxmap.analysis.context import Context
from jaxmap.analysis.exponents import with_errors
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.published import LEAST_PUBLISHED, on_published_steps
from jaxmap.analysis.pythia import SHOWN_START, START_FROM, WINDOW
from jaxmap.analysis.recipes import Recipe
from jaxmap.analysis.run_pairs import GROUP
from jaxmap.analysis.runs import Run
from jaxmap.analysis.trajectories import (
    DisplacementCurve,
    ExponentCurve,
    displacements_of,
    exponents_of,
    trajectories_of,
)
from jaxmap.errors import InputError
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.results import Result
from jaxmap.stats.diffusion import LEAST
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "trajectory", "start_step", "space", "exponent", "r2", "recipe", "group", "unit",
    "standard_error",
)  # fmt: skip
MSD_COLUMNS = ("trajectory", "space", "lag_steps", "msd", "pairs", "recipe", "group", "unit")


@dataclass(frozen=True)
class Diffusion(Result):
    """The diffusion of a store's runs, in log-likelihood space and in weight space.

    Fields:
      exponents: the diffusion exponents of each run, by start.
      displacements: the mean squared displacement of each run, by lag.
      consecutive: the KL between neighbouring checkpoints.
      window: the number of saved checkpoints after a start from which its exponent is fitted.
      shown_start: the start of the left panel of figure 5.
      notes: what was dropped, and what the store lacks.
      recipe, group: how scores were cleaned, and what was cleaned together.
      run_names: all runs, by whose order lines have their styles.
    """

    exponents: tuple[ExponentCurve, ...]
    displacements: tuple[DisplacementCurve, ...]
    consecutive: Consecutive
    window: int
    shown_start: int
    notes: tuple[Note, ...]
    recipe: Recipe = "jaxmap"
    group: str = GROUP
    run_names: tuple[str, ...] = ()

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per run, start and space, with the columns of diffusion.csv."""
        return to_frame(COLUMNS, self._exponent_rows())

    def draw(self) -> Figures:
        """consecutive (figure 4) and diffusion (figure 5), if there is anything to draw."""
        from jaxmap.figures import diffusion

        return Figures(self.consecutive.draw(), diffusion=diffusion.draw(self))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes diffusion.csv, msd.csv and consecutive.csv, and figures 4 and 5."""
        return [*self.write_tables(folder), *save_figures(self.draw(), folder)]

    def write_tables(self, folder: str | Path) -> list[Path]:
        """Writes diffusion.csv, msd.csv and consecutive.csv."""
        folder = Path(folder)
        return [
            write_csv(folder / "diffusion.csv", COLUMNS, self._exponent_rows()),
            write_csv(folder / "msd.csv", MSD_COLUMNS, self._displacement_rows()),
            self.consecutive.write_table(folder),
        ]

    def _exponent_rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.exponents:
            columns = (one.starts, one.exponent, one.r2, one.errors)
            for start, exponent, r2, error in zip(*(c.tolist() for c in columns), strict=True):
                row = (one.trajectory.run, start, one.trajectory.space, exponent, r2)
                yield (*row, self.recipe, self.group, one.trajectory.unit, error)

    def _displacement_rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.displacements:
            columns = (one.lags.tolist(), one.msd.tolist(), one.pairs.tolist())
            of = one.trajectory
            for row in zip(*columns, strict=True):
                yield (of.run, of.space, *row, self.recipe, self.group, of.unit)


def measure_diffusion(
    context: Context,
    *,
    start_from: int | None = None,
    window: int | None = None,
    shown_start: int | None = None,
) -> Diffusion:
    """Measures exponents, displacements and intervals of a store's runs, cleaned for pretraining.

    Args:
      context: the store.
      start_from: the first start of an exponent, in steps; None: step 1,000 as published, or, for a
        run that is too short for a window from there, a quarter of its warmup.
      window: the number of saved checkpoints after a start from which its exponent is fitted;
        None: 10 as published, or, if no run has so many from step 1,000 on, 5 or the most that fit.
      shown_start: the start of the left panel of figure 5; None: step 120,000 as published, or, for
        shorter runs, the last start before five sixths of the run.

    Raises InputError if no run has a complete window from `start_from` on.
    """
    store = context.store
    basis = _published_basis(context) if context.recipe == "published" else _basis(context)
    runs = basis.saved.runs
    start_of, chosen = starts_and_window(runs, start_from, window)
    if chosen < basis.least and window is not None:
        raise InputError(f"a slope needs {basis.least} checkpoints", field="window", value=window)
    trajectories = trajectories_of(store, basis.saved, start_of)
    found = exponents_of(trajectories, chosen, basis.least)
    if chosen < basis.least or not any(len(one.starts) for one in found):
        start = START_FROM if start_from is None else start_from
        raise InputError(
            f"{store.path}: no run has {WINDOW if window is None else window} saved checkpoints "
            f"after a start from step {start} on{_what_fits(runs, start, chosen)}"
        )
    found = with_errors(found, basis.saved, chosen)
    notes = [*basis.notes, *context.timeline_notes]
    if not any(one.space == "weight" for one in trajectories):
        notes.append(Note("weight space", "the store holds no distances between weights"))
    if not any(np.isfinite(one.exponent).any() for one in found):
        still = (
            f"no start has a finite one: after each, the distance to fewer than {basis.least} "
            "checkpoints is known and larger than 0"
        )
        notes.append(Note("exponents", still))
    return Diffusion(
        tuple(found),
        tuple(displacements_of(trajectories)),
        basis.consecutive,
        chosen,
        shown_start_of(found) if shown_start is None else shown_start,
        tuple(notes),
        context.recipe,
        basis.consecutive.group,
        basis.consecutive.run_names,
    )


@dataclass(frozen=True)
class _Basis:
    """The data from which exponents are measured.

    Fields:
      saved: the runs with all saved checkpoints, absent ones included, which windows count.
      consecutive: the intervals of the same runs.
      least: the smallest number of points of a fit.
      notes: notes about the runs.
    """

    saved: Pretraining
    consecutive: Consecutive
    least: int
    notes: tuple[Note, ...]


def _basis(context: Context) -> _Basis:
    """All runs of the store, with the requested checkpoints."""
    pre = context.timeline
    if pre is None or context.pretraining is None:
        raise InputError(
            f"{context.store.path}: no two checkpoints of one training run (names like "
            "org/name@step1000, run/step1000 or run@step1000): no diffusion to measure"
        )
    return _Basis(pre, measure_consecutive(pre), LEAST, context.pretraining.notes)


def _published_basis(context: Context) -> _Basis:
    """The five sizes of Pythia, and all checkpoints that were published of them."""
    group = context.published_groups.sizes
    if group is None:
        raise InputError(
            f"{context.store.path}: none of the five sizes of Pythia: no diffusion to measure",
            field="recipe", value="published",
        )  # fmt: skip
    steps = measure_consecutive(group.cleaned, "published", group.name)
    return _Basis(on_published_steps(group.cleaned), steps, LEAST_PUBLISHED, group.notes)


def starts_and_window(
    runs: Sequence[Run], start_from: int | None, window: int | None
) -> tuple[Callable[[Run], int], int]:
    """The first step of each run from which exponents are measured, and their window, as of
    `measure_diffusion`; a window below LEAST where none fits."""
    chosen = _window(runs, start_from) if window is None else window

    def start_of(run: Run) -> int:
        if start_from is not None:
            return start_from
        return START_FROM if _fits(run, START_FROM, chosen) else run.warmup // 4

    return start_of, chosen


def _fits(run: Run, start: int, window: int) -> bool:
    """Whether a complete window follows some start from `start` on."""
    return bool((run.steps[: max(len(run.steps) - window, 0)] >= start).any())


def _window(runs: Sequence[Run], start_from: int | None) -> int:
    """The published window, or a smaller one that fits some run; below LEAST if none does."""
    start = START_FROM if start_from is None else start_from
    if any(_fits(run, start, WINDOW) for run in runs):
        return WINDOW
    for window in range(WINDOW // 2, LEAST - 1, -1):
        starts = [run.warmup // 4 if start_from is None else start_from for run in runs]
        if any(_fits(run, one, window) for run, one in zip(runs, starts, strict=True)):
            return window
    return LEAST - 1


def _what_fits(runs: Sequence[Run], start_from: int, window: int) -> str:
    """A hint: values of `start_from` or `window` for which some run is long enough."""
    after = [run.steps for run in runs]
    lower = [int(steps[-window - 1]) for steps in after if len(steps) > window]
    fewer = max((int((steps >= start_from).sum()) - 1 for steps in after), default=0)
    cures = [f"`start_from={max(lower)}`"] if lower else []
    cures += [f"`window={fewer}`"] if fewer >= LEAST else []
    if cures:
        return f"; {' or '.join(cures)} fits"
    longest = max((len(steps) - 1 for steps in after), default=0)
    if longest >= LEAST:
        return f"; `start_from=0` with `window={longest}` fits"
    return f", and none has {LEAST}, the fewest that make a slope"


def shown_start_of(curves: list[ExponentCurve]) -> int:
    """The start of which distances are drawn: the published one, else the last that most runs have
    and that lies in the first five sixths of them."""
    counts = Counter(int(start) for one in curves for start in one.starts)
    if SHOWN_START in counts or not counts:
        return SHOWN_START
    most = max(counts.values())
    starts = sorted(start for start, count in counts.items() if count == most)
    last = min(int(one.trajectory.steps[-1]) for one in curves if starts[0] in one.starts)
    return max([start for start in starts if start <= last * 5 / 6] or starts[:1])
