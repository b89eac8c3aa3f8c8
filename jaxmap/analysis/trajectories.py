"""The runs of a store as trajectories: the distances between their checkpoints, and their growth.

Distances are KL in bits per byte in log-likelihood space, and squared norms of the difference of
all parameters in weight space, if the store has them. Checkpoints that are absent or left out by
cleaning are NaN in both spaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.pythia import is_bad
from jaxmap.analysis.runs import Run
from jaxmap.stats.diffusion import LEAST, displacement, exponents
from jaxmap.stats.divergence import kl_KK
from jaxmap.store import Store
from jaxmap.store.weight_distances import read_distances

Space = Literal["log_likelihood", "weight"]
ROUNDED = 0.05  # the part of an interval by which intervals of tokens may differ


@dataclass(frozen=True)
class Trajectory:
    """The squared distances between the saved checkpoints of one run.

    Fields:
      run: the name of the run.
      space: log-likelihood or weight space.
      steps: the times at which the checkpoints were saved, in `unit`, int64 [I].
      distance: float64 [I, I], above the diagonal; NaN where there is none.
      unit: step or token.
      from_I: whether each start is measured, bool [I]; None: all are.
    """

    run: str
    space: Space
    steps: np.ndarray
    distance: np.ndarray
    unit: str = "step"
    from_I: np.ndarray | None = None


@dataclass(frozen=True)
class ExponentCurve:
    """One trajectory and its exponents.

    Fields:
      trajectory: the trajectory.
      starts: the starts that have a complete window, int64 [S].
      exponent, r2: float64 [S]; NaN if the start was left out.
      error: one standard error of the exponent, float64 [S], NaN where unknown; None: not measured.
    """

    trajectory: Trajectory
    starts: np.ndarray
    exponent: np.ndarray
    r2: np.ndarray
    error: np.ndarray | None = None

    @property
    def errors(self) -> np.ndarray:
        """`error`, or NaN where it was not measured, float64 [S]."""
        return np.full(len(self.starts), np.nan) if self.error is None else self.error


@dataclass(frozen=True)
class DisplacementCurve:
    """The mean squared displacement of one trajectory.

    Fields:
      trajectory: the trajectory.
      lags: in the trajectory's unit, int64 [A].
      msd: the mean squared displacement, float64 [A]; NaN: no pair.
      pairs: the number of averaged pairs, int [A].
    """

    trajectory: Trajectory
    lags: np.ndarray
    msd: np.ndarray
    pairs: np.ndarray


def trajectories_of(
    store: Store, pre: Pretraining, start_of: Callable[[Run], int] | None = None
) -> list[Trajectory]:
    """The trajectories of the runs, in log-likelihood space first, then in weight space.

    `start_of` returns the first step of a run from which it is measured.
    """
    found = []

    def trajectory(run: Run, space: Space, distance_II: np.ndarray) -> Trajectory:
        from_I = None if start_of is None else run.steps >= start_of(run)
        return Trajectory(run.name, space, run.times, distance_II, run.unit, from_I)

    for run, rows in zip(pre.runs, pre.rows, strict=True):
        kept = np.flatnonzero(rows >= 0)
        if len(kept) < 2:
            continue
        distance_II = np.full((len(rows), len(rows)), np.nan)
        kl = kl_KK(pre.ll_KN[rows[kept]], pre.mean_bytes, errors=False).kl
        distance_II[np.ix_(kept, kept)] = kl
        found.append(trajectory(run, "log_likelihood", distance_II))
    commits: dict[str, dict[int, str]] = defaultdict(dict)
    for run in pre.runs:
        for (name, step), entry in zip(run.origins, run.entries, strict=True):
            if entry is not None:
                commits[name][step] = entry.identity.commit
    weights = read_distances(store.path, commits)
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        names = dict.fromkeys(name for name, _ in run.origins)
        if not any(name in weights for name in names) or not (rows >= 0).any():
            continue
        # Weight distances were measured within each run according to the names.
        distance_II = np.full((len(rows), len(rows)), np.nan)
        for name in names:
            if name in weights:
                own = [i for i, origin in enumerate(run.origins) if origin[0] == name]
                steps = np.array([run.origins[i][1] for i in own])
                distance_II[np.ix_(own, own)] = weights[name].at(steps)
        out = np.array([is_bad(name, step) for name, step in run.origins])
        distance_II[out, :] = np.nan
        distance_II[:, out] = np.nan
        found.append(trajectory(run, "weight", distance_II))
    return found


def exponents_of(
    trajectories: Sequence[Trajectory], window: int, least: int = LEAST
) -> list[ExponentCurve]:
    """The exponents over the `window` saved checkpoints after every start that is measured.

    At least `least` of them must exist.
    """
    if not trajectories:
        return []
    found = exponents(*_padded(trajectories), window=window, least=least)
    result = []
    for one, exponent_I, r2_I in zip(trajectories, *found, strict=True):
        last = len(one.steps) - window
        places = [i for i in range(max(last, 0)) if one.from_I is None or one.from_I[i]]
        result.append(ExponentCurve(one, one.steps[places], exponent_I[places], r2_I[places]))
    return result


def displacements_of(trajectories: Sequence[Trajectory]) -> list[DisplacementCurve]:
    """The displacement by lag over the evenly spaced checkpoints at the end of each run.

    These are the longest sequence of equal intervals that ends with the run and begins at or after
    the first measured start. Runs without three such checkpoints are left out. Intervals of tokens,
    which are rounded in names, may differ by a twentieth, and lags are multiples of their mean.
    """
    even, lag_of = [], []
    for one in trajectories:
        gaps = np.diff(one.steps)
        slack = 0.0 if one.unit == "step" else ROUNDED * gaps[-1:].sum()
        measured = np.ones(len(one.steps), bool) if one.from_I is None else one.from_I
        first = len(one.steps) - 1
        while first > 0 and abs(gaps[first - 1] - gaps[-1]) <= slack and measured[first - 1]:
            first -= 1
        if len(one.steps) - first >= 3:
            steps, distance = one.steps[first:], one.distance[first:, first:]
            even.append(replace(one, steps=steps, distance=distance, from_I=None))
            lag_of.append(round(float(gaps[first:].mean())))
    if not even:
        return []
    found = displacement(_padded(even)[0])
    return [
        DisplacementCurve(one, lag * np.arange(1, len(one.steps)), msd_A[: len(one.steps) - 1],
               count_A[: len(one.steps) - 1])
        for one, lag, msd_A, count_A in zip(even, lag_of, found.msd, found.pairs, strict=True)
    ]  # fmt: skip


def _padded(trajectories: Sequence[Trajectory]) -> tuple[np.ndarray, np.ndarray]:
    """Distances [R, I, I] and steps [R, I], NaN after the end of shorter runs."""
    longest = max(len(one.steps) for one in trajectories)
    distance_RII = np.full((len(trajectories), longest, longest), np.nan)
    step_RI = np.full((len(trajectories), longest), np.nan)
    for r, one in enumerate(trajectories):
        size = len(one.steps)
        distance_RII[r, :size, :size] = one.distance
        step_RI[r, :size] = one.steps
    return distance_RII, step_RI
