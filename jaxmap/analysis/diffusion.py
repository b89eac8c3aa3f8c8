"""`jaxmap diffusion`: how distance grows along training; tables, figures 4 and 5."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxmap.analysis.context import Reading
from jaxmap.analysis.trajectories import (
    START,
    Diffusion,
    Spread,
    consecutive_of,
    diffusion_of,
    spread_of,
    trajectories_of,
)
from jaxmap.errors import InputError
from jaxmap.figures.consecutive import Steps
from jaxmap.stats.clean import WARMUP
from jaxmap.stats.diffusion import WINDOW
from jaxmap.store import Store
from jaxmap.tables import write_csv

COLUMNS = ("trajectory", "start_step", "space", "exponent", "r2")
MSD_COLUMNS = ("trajectory", "space", "lag_steps", "msd", "pairs")
STEP_COLUMNS = ("trajectory", "from_step", "to_step", "kl_bits_per_byte", "standard_error")


@dataclass(frozen=True)
class Diffusions:
    """All that the command computes, and notes on what was dropped."""

    diffusion: tuple[Diffusion, ...]
    spread: tuple[Spread, ...]
    consecutive: tuple[Steps, ...]
    notes: tuple[str, ...]


def measure_diffusion(
    store: Store,
    *,
    warmup: int = WARMUP,
    start_from: int = START,
    window: int = WINDOW,
    reading: Reading | None = None,
) -> Diffusions:
    """Exponents, displacements and steps of the runs of a store, cleaned for pretraining.

    `reading` is of this store with this warmup, where the caller has one. Raises InputError for a
    store without a run that has a whole window from `start_from` on.
    """
    pre = (reading or Reading(store, warmup)).pretraining
    if pre is None:
        raise InputError(
            f"{store.path}: no two checkpoints of one training run (names like org/name@step1000, "
            "run/step1000 or run@step1000): nothing diffuses"
        )
    trajectories = trajectories_of(store, pre)
    found = diffusion_of(trajectories, start_from, window)
    if not any(len(one.starts) for one in found):
        raise InputError(
            f"{store.path}: no run has {window} saved checkpoints after a start from step "
            f"{start_from} on: lower --start_from or --window"
        )
    notes = [*pre.describe()]
    if not any(one.space == "weight" for one in trajectories):
        notes.append("weight space: the store holds no distances between weights")
    return Diffusions(
        tuple(found),
        tuple(spread_of(trajectories, start_from)),
        tuple(consecutive_of(pre)),
        tuple(notes),
    )


def write_diffusion(
    store: Store,
    out: str | os.PathLike[str],
    *,
    warmup: int = WARMUP,
    start_from: int = START,
    window: int = WINDOW,
    show_start: int | None = None,
) -> Diffusions:
    """Writes OUT/diffusion.csv, msd.csv and consecutive.csv, and figures 4 and 5.

    Figures are OUT/consecutive and OUT/diffusion, as .png, .svg and .pdf. `show_start` is the
    start of figure 5's left panel; None: step 120,000 as published, else five sixths of the run.
    """
    from jaxmap.figures import consecutive, style
    from jaxmap.figures import diffusion as figure

    out = Path(out)
    found = measure_diffusion(store, warmup=warmup, start_from=start_from, window=window)
    write_csv(out / "diffusion.csv", COLUMNS, _exponent_rows(found.diffusion))
    write_csv(out / "msd.csv", MSD_COLUMNS, _msd_rows(found.spread))
    write_csv(out / "consecutive.csv", STEP_COLUMNS, _step_rows(found.consecutive))
    style.save(consecutive.draw(found.consecutive, warmup_until=warmup), out / "consecutive")
    style.save(figure.draw(found.diffusion, window, show_start), out / "diffusion")
    return found


def _exponent_rows(diffusion: Sequence[Diffusion]) -> Iterable[tuple[object, ...]]:
    for one in diffusion:
        columns = (one.starts.tolist(), one.exponent.tolist(), one.r2.tolist())
        for start, exponent, r2 in zip(*columns, strict=True):
            yield one.trajectory.run, start, one.trajectory.space, repr(exponent), repr(r2)


def _msd_rows(spread: Sequence[Spread]) -> Iterable[tuple[object, ...]]:
    for one in spread:
        for lag, msd, pairs in zip(
            one.lags.tolist(), one.msd.tolist(), one.pairs.tolist(), strict=True
        ):
            yield one.trajectory.run, one.trajectory.space, lag, repr(msd), pairs


def _step_rows(consecutive: Sequence[Steps]) -> Iterable[tuple[object, ...]]:
    for one in consecutive:
        columns = (one.start_I, one.end_I, one.kl_I, one.error_I)
        for start, end, kl, error in zip(*(column.tolist() for column in columns), strict=True):
            yield one.run, start, end, repr(kl), repr(error)
