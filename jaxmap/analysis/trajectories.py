"""The runs of a store as trajectories: distances between their checkpoints, and how they grow.

Log-likelihood space is measured in KL, bits per byte, weight space in squared norms of the
difference of all parameters, where the store has them. Checkpoints that are absent or left out by
cleaning are NaN, in both spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.pythia import is_bad
from jaxmap.stats.diffusion import LEAST, displacement, exponents
from jaxmap.stats.divergence import kl_KK
from jaxmap.store import Store
from jaxmap.store.weight_distances import read_distances

Space = Literal["log_likelihood", "weight"]


@dataclass(frozen=True)
class Trajectory:
    """Squared distances between the saved checkpoints of one run, above the diagonal.

    steps int64 [I]; distance float64 [I, I], NaN where there is none.
    """

    run: str
    space: Space
    steps: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class ExponentCurve:
    """One trajectory and its exponents: starts int64 [S], those with a whole window after them;
    exponent and r2 float64 [S], NaN where the start was left out."""

    trajectory: Trajectory
    starts: np.ndarray
    exponent: np.ndarray
    r2: np.ndarray


@dataclass(frozen=True)
class DisplacementCurve:
    """Mean squared displacement of one trajectory: lags in steps int64 [A], msd float64 [A] (NaN:
    no pair), pairs averaged int [A]."""

    trajectory: Trajectory
    lags: np.ndarray
    msd: np.ndarray
    pairs: np.ndarray


def trajectories_of(store: Store, pre: Pretraining) -> list[Trajectory]:
    """Runs in the order of the store, log-likelihood space first, then weight space."""
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        kept = np.flatnonzero(rows >= 0)
        if len(kept) < 2:
            continue
        distance_II = np.full((len(rows), len(rows)), np.nan)
        kl = kl_KK(pre.ll_KN[rows[kept]], pre.mean_bytes, errors=False).kl
        distance_II[np.ix_(kept, kept)] = kl
        found.append(Trajectory(run.name, "log_likelihood", run.steps, distance_II))
    names = [run.full_name for run in pre.runs]
    commits = {
        name: {
            int(step): entry.identity.commit
            for step, entry in zip(run.steps, run.entries, strict=True)
            if entry is not None
        }
        for name, run in zip(names, pre.runs, strict=True)
    }
    weights = read_distances(store.path, commits)
    for name, run, rows in zip(names, pre.runs, pre.rows, strict=True):
        if name in weights and (rows >= 0).any():
            distance_II = weights[name].at(run.steps)
            out = np.array([is_bad(run.full_name, int(step)) for step in run.steps])
            distance_II[out, :] = np.nan
            distance_II[:, out] = np.nan
            found.append(Trajectory(run.name, "weight", run.steps, distance_II))
    return found


def exponents_of(
    trajectories: Sequence[Trajectory], start_from: int, window: int, least: int = LEAST
) -> list[ExponentCurve]:
    """Exponents over the next `window` saved checkpoints of every start from `start_from` on, from
    at least `least` of them."""
    if not trajectories:
        return []
    found = exponents(*_padded(trajectories), window=window, least=least)
    result = []
    for one, exponent_I, r2_I in zip(trajectories, *found, strict=True):
        last = len(one.steps) - window
        places = [i for i in range(max(last, 0)) if one.steps[i] >= start_from]
        result.append(ExponentCurve(one, one.steps[places], exponent_I[places], r2_I[places]))
    return result


def displacements_of(
    trajectories: Sequence[Trajectory], start_from: int
) -> list[DisplacementCurve]:
    """Displacement against lag over the evenly spaced checkpoints at the end of each run.

    These are the longest stretch of equal intervals that ends with the run and begins at or after
    `start_from`; runs without three such checkpoints are left out.
    """
    even, lag_of = [], []
    for one in trajectories:
        gaps = np.diff(one.steps)
        first = len(one.steps) - 1
        while first > 0 and gaps[first - 1] == gaps[-1] and one.steps[first - 1] >= start_from:
            first -= 1
        if len(one.steps) - first >= 3:
            even.append(
                Trajectory(one.run, one.space, one.steps[first:], one.distance[first:, first:])
            )
            lag_of.append(int(gaps[-1]))
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
