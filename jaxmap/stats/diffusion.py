"""Growth of distance with time along trajectories: diffusion exponents and displacements.

A trajectory is given by the squared distances between its checkpoints, [I, I]: KL in bits per byte
for log-likelihoods, the squared norm of the difference for weights (Kishino et al., arXiv
2505.15353). Only the part above the diagonal is read. NaN stands for an absent checkpoint or a
distance that was not computed.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.stats.float64 import precise

LEAST = 3  # points that a slope and its R^2 need


class Exponents(NamedTuple):
    """Diffusion exponents and their R^2 for every start checkpoint, float64 [R, I]; NaN: none."""

    exponent: np.ndarray
    r2: np.ndarray


class Displacement(NamedTuple):
    """Mean squared displacement by lag, float64 [R, A], and the number of pairs, int [R, A].

    Column a is a lag of a + 1 checkpoints; NaN if no pair has this lag.
    """

    msd: np.ndarray
    pairs: np.ndarray


def line_fit(
    x_P: jax.Array, y_P: jax.Array, mask_P: jax.Array, least: int = LEAST
) -> tuple[jax.Array, jax.Array]:
    """The slope and R^2 of an ordinary least squares fit to the points of the mask.

    Both are NaN for fewer than `least` points.
    """
    count = mask_P.sum()
    weight_P = mask_P.astype(x_P.dtype) / jnp.maximum(count, 1).astype(x_P.dtype)
    x_P = jnp.where(mask_P, x_P, 0.0)
    y_P = jnp.where(mask_P, y_P, 0.0)
    dx_P = jnp.where(mask_P, x_P - (weight_P * x_P).sum(), 0.0)
    dy_P = jnp.where(mask_P, y_P - (weight_P * y_P).sum(), 0.0)
    xx, xy, yy = (dx_P * dx_P).sum(), (dx_P * dy_P).sum(), (dy_P * dy_P).sum()
    enough = (count >= least) & (xx > 0)
    slope = jnp.where(enough, xy / jnp.where(enough, xx, 1.0), jnp.nan)
    fits = enough & (yy > 0)
    r2 = jnp.where(fits, xy * xy / jnp.where(fits, xx * yy, 1.0), jnp.nan)
    return slope, r2


@functools.partial(jax.jit, static_argnames=("window", "least"))
def _exponents(distance_RII: jax.Array, step_RI: jax.Array, window: int, least: int) -> Exponents:
    num_checkpoints = step_RI.shape[1]

    def of_start(distance_II: jax.Array, step_I: jax.Array, start: jax.Array):
        index_P = start + 1 + jnp.arange(window)
        inside_P = index_P < num_checkpoints
        index_P = jnp.where(inside_P, index_P, 0)
        distance_P = distance_II[start, index_P]
        lag_P = step_I[index_P] - step_I[start]
        mask_P = inside_P & (distance_P > 0) & (lag_P > 0)  # false for NaN
        ones_P = jnp.ones_like(distance_P)
        slope, r2 = line_fit(
            jnp.log(jnp.where(mask_P, lag_P, ones_P)),
            jnp.log(jnp.where(mask_P, distance_P, ones_P)),
            mask_P,
            least,
        )
        whole = jnp.isfinite(step_I[index_P]).all() & inside_P.all()
        return jnp.where(whole, slope, jnp.nan), jnp.where(whole, r2, jnp.nan)

    starts_I = jnp.arange(num_checkpoints)
    of_run = jax.vmap(of_start, in_axes=(None, None, 0))
    return Exponents(*jax.vmap(of_run, in_axes=(0, 0, None))(distance_RII, step_RI, starts_I))


@functools.partial(jax.jit, static_argnames="lags")
def _displacement(distance_RII: jax.Array, lags: int) -> Displacement:
    num_checkpoints = distance_RII.shape[1]
    start_I = jnp.arange(num_checkpoints)

    def of_lag(distance_II: jax.Array, lag: jax.Array):
        end_I = start_I + lag
        inside_I = end_I < num_checkpoints
        distance_I = distance_II[start_I, jnp.where(inside_I, end_I, 0)]
        there_I = inside_I & jnp.isfinite(distance_I)
        count = there_I.sum()
        total = jnp.where(there_I, distance_I, 0.0).sum()
        mean = total / jnp.maximum(count, 1).astype(total.dtype)
        return jnp.where(count > 0, mean, jnp.nan), count

    of_run = jax.vmap(of_lag, in_axes=(None, 0))
    lag_A = 1 + jnp.arange(lags)
    return Displacement(*jax.vmap(of_run, in_axes=(0, None))(distance_RII, lag_A))


def exponents(
    distance_RII: np.ndarray, step_RI: np.ndarray, window: int, least: int = LEAST
) -> Exponents:
    """The slope c of log distance against log(t - t0) over the next `window` saved checkpoints.

    c = 1 is Brownian motion, c < 1 subdiffusion, c > 1 superdiffusion. It is fitted by ordinary
    least squares to the checkpoints of the window that exist, at least `least`. It is NaN if the
    window extends beyond the end of the run or its start is absent.

    Args:
      distance_RII: squared distances of R runs; NaN for absent ones and after shorter runs.
      step_RI: the saved training steps, increasing; NaN after shorter runs.
      window: the number of saved checkpoints in a window.
      least: the smallest number of points of a fit.
    """
    with precise():
        found = _exponents(
            jnp.asarray(distance_RII, float), jnp.asarray(step_RI, float), window, least
        )
        return Exponents(*(np.asarray(one, np.float64) for one in found))


def displacement(distance_RII: np.ndarray, lags: int | None = None) -> Displacement:
    """The squared distance averaged over all starts, for lags of 1 to `lags` checkpoints.

    The checkpoints must be evenly spaced in time; early ones with smaller intervals must be left
    out.
    """
    lags = np.shape(distance_RII)[1] - 1 if lags is None else lags
    with precise():
        found = _displacement(jnp.asarray(distance_RII, float), lags=max(lags, 0))
        return Displacement(np.asarray(found.msd, np.float64), np.asarray(found.pairs))
