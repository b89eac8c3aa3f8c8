"""Diffusion exponents of one run with their standard errors.

The exponent of a start is the slope of log distance against log time since the start, over the
`window` saved checkpoints after it (`stats.diffusion.exponents`). Those that are absent, or at a
distance of 0, are left out of the fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.trajectories import ExponentCurve
from jaxmap.stats.diffusion import LEAST
from jaxmap.stats.dynamics import slope, slope_error
from jaxmap.stats.jackknife import kl_left_out, standard_error

FEWEST_TEXTS = 3  # of a jackknife


def kl_exponents(
    pre: Pretraining,
    rows_I: np.ndarray,
    times_I: np.ndarray,
    starts: Sequence[int],
    window: int,
    least: int = LEAST,
) -> tuple[np.ndarray, np.ndarray]:
    """Exponents in log-likelihood space and their errors by a jackknife over texts, float64 [S].

    Args:
      pre: the runs, cleaned.
      rows_I: the row of each checkpoint of the run in `pre.ll_KN`; -1: absent.
      times_I: the times of the checkpoints.
      starts: the indices of the starts, each with a whole window after it.
      window: the number of checkpoints after a start.
      least: the smallest number of points of a fit, at least 2.

    Both are NaN where fewer than `least` distances are known and above 0.
    """
    value_S, error_S = np.full(len(starts), np.nan), np.full(len(starts), np.nan)
    after_SW = [
        [j for j in range(i + 1, i + window + 1) if rows_I[i] >= 0 and rows_I[j] >= 0]
        for i in starts
    ]
    pairs = [(rows_I[i], rows_I[j]) for i, after in zip(starts, after_SW, strict=True)
             for j in after]  # fmt: skip
    if not pairs or pre.ll_KN.shape[1] < FEWEST_TEXTS:
        return value_S, error_S
    kl = kl_left_out(pre.ll_KN, np.array(pairs, np.int64), pre.mean_bytes)
    first = 0
    is_fit_P = (kl.kl > 0) & (kl.without > 0).all(axis=0)
    for n, (i, after) in enumerate(zip(starts, after_SW, strict=True)):
        part = np.arange(first, first + len(after))
        first += len(after)
        used = is_fit_P[part]
        if used.sum() < least:
            continue
        lags = np.log((times_I[after][used] - times_I[i]).astype(float))
        value_S[n] = slope(lags, np.log(kl.kl[part[used]]))
        error_S[n] = standard_error(slope(lags, np.log(kl.without[:, part[used]])))
    return value_S, error_S


def weight_exponents(
    distance_II: np.ndarray,
    times_I: np.ndarray,
    starts: Sequence[int],
    window: int,
    least: int = LEAST,
) -> tuple[np.ndarray, np.ndarray]:
    """Exponents of squared distances of weights and their errors by the fit, float64 [S].

    No text enters them, so that the error is that of the slope by the scatter of the points; it is
    NaN for two points. Both are NaN for fewer than `least`.
    """
    value_S, error_S = np.full(len(starts), np.nan), np.full(len(starts), np.nan)
    for n, i in enumerate(starts):
        distance_W = distance_II[i, i + 1 : i + window + 1]
        there = distance_W > 0
        if there.sum() < least:
            continue
        lags = np.log((times_I[i + 1 : i + window + 1] - times_I[i])[there].astype(float))
        value_S[n] = slope(lags, np.log(distance_W[there]))
        if there.sum() > 2:
            error_S[n] = slope_error(lags, np.log(distance_W[there]))
    return value_S, error_S


def with_errors(
    curves: Iterable[ExponentCurve], pre: Pretraining, window: int
) -> list[ExponentCurve]:
    """The curves with the standard error of each exponent; `pre` has their runs."""
    rows = {run.name: rows_I for run, rows_I in zip(pre.runs, pre.rows, strict=True)}
    found = []
    for one in curves:
        of = one.trajectory
        starts = np.flatnonzero(np.isin(of.steps, one.starts)).tolist()
        if of.space == "weight":
            _, error_S = weight_exponents(of.distance, of.steps, starts, window, 2)
        else:
            _, error_S = kl_exponents(pre, rows[of.run], of.steps, starts, window, 2)
        found.append(replace(one, error=np.where(np.isfinite(one.exponent), error_S, np.nan)))
    return found
