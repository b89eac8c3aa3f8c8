"""Cleaning of log-likelihood matrices before anything is computed from them.

Two recipes: that of the model map (Oyama et al., arXiv 2502.16173) is a floor for all entries;
that of the pretraining trajectories (Kishino et al., arXiv 2505.15353) also leaves out bad runs,
bad checkpoints and the texts on which some model jumps. Both say what they changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

FLOOR = 0.02  # quantile of all entries below which an entry is clipped
JUMPY = 0.03  # share of the texts that is dropped
WARMUP = 2000  # steps; the learning rate of Pythia is warmed up by then


@dataclass(frozen=True)
class Dropped:
    """What cleaning left out or changed."""

    floor: float = float("nan")  # nats; lower entries were raised to it
    clipped: int = 0  # entries
    not_finite: tuple[str, ...] = ()  # names of vectors with a NaN or an infinity
    excluded: tuple[str, ...] = ()  # names of excluded runs and checkpoints
    texts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # indices


@dataclass(frozen=True)
class Cleaned:
    """ll_KN float64, nats, of the rows and texts kept (indices into the input), and the rest."""

    ll_KN: np.ndarray
    rows: np.ndarray
    texts: np.ndarray
    dropped: Dropped


def floor_of(ll_KN: np.ndarray, quantile: float = FLOOR) -> float:
    """The quantile of all entries, nats; linear between order statistics (NumPy's default).

    A matrix that was clipped at this quantile before has its floor for minimum, many times over,
    and gets the same one again. By NumPy on the host: a selection, where XLA sorts.
    """
    lower = np.quantile(ll_KN, quantile, method="lower")
    if quantile * (ll_KN.size - 1) >= 1 and lower == ll_KN.min():
        return float(lower)
    return float(np.quantile(ll_KN, quantile))


def clean_map(
    ll_KN: np.ndarray,
    names: Sequence[str],
    quantile: float = FLOOR,
    texts: np.ndarray | None = None,
) -> Cleaned:
    """Clips a matrix from below at a quantile of all its entries. Vectors not finite are left out.

    A matrix that was clipped at that quantile before stays as it is.
    `texts`: the indices that the columns have, where they are a part of a larger set.
    """
    ll_KN = np.asarray(ll_KN, np.float64)
    finite_K = np.isfinite(ll_KN).all(axis=1)
    kept_KN = ll_KN[finite_K]
    floor = floor_of(kept_KN, quantile) if kept_KN.size else float("nan")
    dropped = Dropped(
        floor=floor,
        clipped=int(np.count_nonzero(kept_KN < floor)),
        not_finite=tuple(np.array(names, object)[~finite_K]),
    )
    columns = np.arange(ll_KN.shape[1]) if texts is None else texts
    return Cleaned(np.maximum(kept_KN, floor), np.flatnonzero(finite_K), columns, dropped)


def clean_pretraining(
    ll_KN: np.ndarray,
    names: Sequence[str],
    run_K: np.ndarray,
    place_K: np.ndarray,
    step_K: np.ndarray,
    excluded_K: np.ndarray,
    *,
    quantile: float = FLOOR,
    jumpy: float = JUMPY,
    warmup: int = WARMUP,
) -> Cleaned:
    """The recipe for checkpoints of training runs.

    1. leaves out the rows of `excluded_K` (bad runs and checkpoints), and vectors not finite;
    2. clips every entry from below at a quantile of all that remain;
    3. scores each text by its largest |l_{t+1} - l_t| over neighbouring saved checkpoints from
       step `warmup` on, over all runs; a checkpoint left out or absent is a gap, and those on
       its two sides are no neighbours;
    4. drops the share `jumpy` of the texts with the largest scores (rounded; of equal ones the
       later texts).

    Args:
      ll_KN: nats.
      names: of the rows, for the report.
      run_K: number of the run that a row belongs to.
      place_K: its place among the saved checkpoints of the run, absent ones counted.
      step_K: its training step.
      excluded_K: bool.
    """
    ll_KN = np.asarray(ll_KN, np.float64)
    excluded_K = np.asarray(excluded_K, bool)
    finite_K = np.isfinite(ll_KN).all(axis=1)
    kept_K = finite_K & ~excluded_K
    ll_KN = ll_KN.copy()
    floor = floor_of(ll_KN[kept_K], quantile) if kept_K.any() else float("nan")
    clipped = int(np.count_nonzero(ll_KN[kept_K] < floor))
    np.maximum(ll_KN, floor, out=ll_KN)
    jump_N = largest_jumps(
        ll_KN, neighbours(run_K, place_K, kept_K & (np.asarray(step_K) >= warmup))
    )
    num_dropped = round(jumpy * ll_KN.shape[1])
    order = np.argsort(jump_N, kind="stable")
    texts = np.sort(order[: ll_KN.shape[1] - num_dropped])
    names_K = np.array(names, object)
    return Cleaned(
        ll_KN[kept_K][:, texts],
        np.flatnonzero(kept_K),
        texts,
        Dropped(
            floor,
            clipped,
            tuple(names_K[~finite_K & ~excluded_K]),
            tuple(names_K[excluded_K]),
            np.sort(order[ll_KN.shape[1] - num_dropped :]),
        ),
    )


def neighbours(run_K: np.ndarray, place_K: np.ndarray, kept_K: np.ndarray) -> np.ndarray:
    """Rows [P, 2] of neighbouring saved checkpoints of a run, both kept; arguments as above."""
    run_K, place_K = np.asarray(run_K), np.asarray(place_K)
    order = np.lexsort((place_K, run_K))
    first, second = order[:-1], order[1:]
    together = (run_K[first] == run_K[second]) & (place_K[first] + 1 == place_K[second])
    together &= kept_K[first] & kept_K[second]
    return np.stack([first[together], second[together]], axis=1)


def largest_jumps(ll_KN: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """Largest |l_j - l_i| of each text over listed pairs, [N], nats; zero without pairs."""
    jump_N = np.zeros(ll_KN.shape[1])
    for i, j in pairs_P2:
        np.maximum(jump_N, np.abs(ll_KN[j] - ll_KN[i]), out=jump_N)
    return jump_N
