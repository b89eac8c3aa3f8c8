"""How a run moves, from the KLs between its checkpoints: speed, turns, curvature, exponents.

A checkpoint is a point x whose squared distances are KLs, |x_s - x_t|^2 = KL(s, t) (bits per byte;
Oyama et al., arXiv 2502.16173). All of this follows from KLs alone; no coordinates are needed. Any
leading axes are runs, or groups of texts that were left out.
"""

from __future__ import annotations

import numpy as np


def speed(kl: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """Mean speed from one checkpoint to the next: sqrt(KL) over the time between them, in
    sqrt(bits per byte) a step or token."""
    return np.sqrt(kl) / duration


def turn(before: np.ndarray, after: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Cosine of the angle by which a path turns at a checkpoint: 1 straight on, 0 as a random walk
    in many dimensions does, -1 back.

    Of the three KLs of neighbours r, s, t: (KL(r, t) - KL(r, s) - KL(s, t)) / (2 sqrt(KL(r, s)
    KL(s, t))), the law of cosines. NaN where a step is 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return (across - before - after) / (2.0 * np.sqrt(before * after))


def curvature(before: np.ndarray, after: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Menger's curvature, 1 / radius of the circle through three checkpoints: 2 sin(angle at the
    middle one) / |x_t - x_r| (Menger 1930), in 1 / sqrt(bits per byte). NaN where two coincide."""
    cosine = np.clip(turn(before, after, across), -1.0, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(across > 0, 2.0 * np.sqrt(1.0 - cosine**2) / np.sqrt(across), np.nan)


def slope(log_lag_W: np.ndarray, log_distance: np.ndarray) -> np.ndarray:
    """Slopes of ordinary least squares, [...], of log distances [..., W] against log lags [W]."""
    x_W = log_lag_W - log_lag_W.mean()
    return (log_distance * x_W).sum(axis=-1) / (x_W * x_W).sum()


def slope_error(log_lag_W: np.ndarray, log_distance: np.ndarray) -> np.ndarray:
    """Standard error of these slopes by the scatter of the points around the line, with W - 2
    degrees of freedom; as the points share a start, it is a rough one."""
    x_W = log_lag_W - log_lag_W.mean()
    y = log_distance - log_distance.mean(axis=-1, keepdims=True)
    fitted = slope(log_lag_W, log_distance)[..., None] * x_W
    rest = ((y - fitted) ** 2).sum(axis=-1) / (len(x_W) - 2)
    return np.sqrt(rest / (x_W * x_W).sum())
