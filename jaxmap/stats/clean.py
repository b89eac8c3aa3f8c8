"""Cleaning of log-likelihood matrices before anything is computed from them.

There are two recipes. That of the model map (Oyama et al., arXiv 2502.16173) raises all entries to
a lower limit; that of the pretraining trajectories (Kishino et al., arXiv 2505.15353) also leaves
out bad runs, bad checkpoints and the texts whose scores jump between checkpoints. Both report what
they changed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.stats.float64 import precise

FLOOR = 0.02  # quantile of all entries below which an entry is clipped
JUMPY = 0.03  # share of the texts that is dropped because their scores jump


@dataclass(frozen=True)
class Dropped:
    """What cleaning left out or changed."""

    floor: float = float("nan")  # nats; lower entries were raised to it
    clipped: int = 0  # the number of raised entries
    not_finite: tuple[str, ...] = ()  # names of vectors with a NaN or an infinity
    excluded: tuple[str, ...] = ()  # names of excluded runs and checkpoints
    texts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # indices
    # the largest change of each text between neighbouring checkpoints, nats
    jump_N: np.ndarray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Cleaned:
    """A cleaned matrix.

    Fields:
      ll_KN: float64 in nats.
      rows, texts: the indices in the input of the rows and texts that were kept.
      dropped: what was left out or changed.
    """

    ll_KN: np.ndarray
    rows: np.ndarray
    texts: np.ndarray
    dropped: Dropped


# Kernels ----------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="place")
def neighbouring_entries(ll_KN: jax.Array, place: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The entries number `place` and `place` + 1 of all entries in sorted order, and the smallest.

    They are found by bisection over the floating-point numbers, counting the entries up to each
    number, so that nothing is sorted and rows may be divided over a mesh. All entries must be
    finite.
    """
    low, high = _number(ll_KN.min()), _number(ll_KN.max())

    def narrowed(ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # their sum can overflow
        count = (ll_KN <= _float(middle, ll_KN.dtype)).sum()
        below, done = count <= place, count == place + 1
        return jnp.where(below, middle + 1, jnp.where(done, middle, low)), jnp.where(
            below, high, middle
        )

    _, high = jax.lax.while_loop(lambda ends: ends[0] < ends[1], narrowed, (low, high))
    lower = jnp.where(ll_KN <= _float(high, ll_KN.dtype), ll_KN, -jnp.inf).max()
    above = jnp.where(ll_KN > lower, ll_KN, jnp.inf).min()
    upper = jnp.where((ll_KN <= lower).sum() > place + 1, lower, above)
    return lower, upper, ll_KN.min()


def _number(x: jax.Array) -> jax.Array:
    """Maps floats to integers in the same order; consecutive floats give consecutive integers."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int64 if x.dtype == jnp.float64 else jnp.int32)
    return jnp.where(bits < 0, jnp.iinfo(bits.dtype).min - bits, bits)


def _float(number: jax.Array, dtype: jnp.dtype) -> jax.Array:
    least = jnp.iinfo(number.dtype).min
    return jax.lax.bitcast_convert_type(jnp.where(number < 0, least - number, number), dtype)


@jax.jit
def raised(ll_KN: jax.Array, floor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The matrix with entries below the floor raised to it, and the number of these."""
    return jnp.maximum(ll_KN, floor), (ll_KN < floor).sum()


# Recipes ----------------------------------------------------------------------------------------


def clip(
    ll_KN: np.ndarray, quantile: float = FLOOR, *, keep_floor: bool = True
) -> tuple[np.ndarray, float, int]:
    """Raises lower entries to a quantile of all entries (linear interpolation, as in NumPy).

    A matrix that was clipped at this quantile before is recognised by its minimum, which occurs
    many times, and keeps this floor. With `keep_floor` false it is always NumPy's quantile.

    Returns the matrix, the floor in nats, and the number of raised entries.
    """
    if not ll_KN.size:
        return ll_KN, float("nan"), 0
    share = quantile * (ll_KN.size - 1)
    place = min(int(share), max(ll_KN.size - 2, 0))
    with precise():
        ll = jnp.asarray(ll_KN)
        lower, upper, least = (float(one) for one in neighbouring_entries(ll, place))
        clipped_before = keep_floor and share >= 1 and lower == least
        floor = lower
        if share > place and not clipped_before:  # interpolated as by NumPy's quantile
            floor = float(np.quantile((lower, upper), share - place))
        clipped_KN, count = raised(ll, floor)
        return np.asarray(clipped_KN, np.float64), floor, int(count)


def clean_map(
    ll_KN: np.ndarray,
    names: Sequence[str],
    quantile: float = FLOOR,
    texts: np.ndarray | None = None,
) -> Cleaned:
    """Clips a matrix from below at a quantile of its entries, without vectors that are not finite.

    A matrix that was clipped at this quantile before is not changed. `texts` are the indices of the
    columns if they are a part of a larger set.
    """
    ll_KN = np.asarray(ll_KN, np.float64)
    finite_K = np.isfinite(ll_KN).all(axis=1)
    clipped_KN, floor, count = clip(ll_KN if finite_K.all() else ll_KN[finite_K], quantile)
    dropped = Dropped(
        floor=floor, clipped=count, not_finite=tuple(np.array(names, object)[~finite_K])
    )
    columns = np.arange(ll_KN.shape[1]) if texts is None else texts
    return Cleaned(clipped_KN, np.flatnonzero(finite_K), columns, dropped)


def clean_pretraining(
    ll_KN: np.ndarray,
    names: Sequence[str],
    run_K: np.ndarray,
    place_K: np.ndarray,
    step_K: np.ndarray,
    excluded_K: np.ndarray,
    *,
    warmup: int,
    quantile: float = FLOOR,
    jumpy: float = JUMPY,
    keep_floor: bool = True,
) -> Cleaned:
    """The recipe for checkpoints of training runs.

    1. It leaves out the rows of `excluded_K` (bad runs and checkpoints) and vectors that are not
       finite.
    2. It clips every entry from below at a quantile of the remaining entries.
    3. For each text it finds the largest |l_{t+1} - l_t| over neighbouring saved checkpoints from
       step `warmup` on, over all runs. An absent or excluded checkpoint is a gap; the checkpoints
       on its two sides are not neighbours.
    4. It drops the share `jumpy` (rounded) of the texts with the largest jumps; of equal ones, the
       later texts.

    Args:
      ll_KN: log-likelihoods in nats.
      names: the names of the rows, for the report.
      run_K: the number of the run of each row.
      place_K: its index among the saved checkpoints of the run, including absent ones.
      step_K: its training step.
      excluded_K: whether it is excluded, bool.
      warmup: the step from which jumps count.
      quantile: the quantile of step 2.
      jumpy: the share of texts of step 4.
      keep_floor: see `clip`.
    """
    ll_KN = np.asarray(ll_KN, np.float64)
    excluded_K = np.asarray(excluded_K, bool)
    finite_K = np.isfinite(ll_KN).all(axis=1)
    rows = np.flatnonzero(finite_K & ~excluded_K)
    clipped_KN, floor, clipped = clip(ll_KN[rows], quantile, keep_floor=keep_floor)
    late_K = np.asarray(step_K)[rows] >= warmup
    jump_N = largest_jumps(
        clipped_KN, neighbours(np.asarray(run_K)[rows], np.asarray(place_K)[rows], late_K)
    )
    num_dropped = round(jumpy * ll_KN.shape[1])
    order = np.argsort(jump_N, kind="stable")
    texts = np.sort(order[: ll_KN.shape[1] - num_dropped])
    names_K = np.array(names, object)
    return Cleaned(
        clipped_KN[:, texts],
        rows,
        texts,
        Dropped(
            floor,
            clipped,
            tuple(names_K[~finite_K & ~excluded_K]),
            tuple(names_K[excluded_K]),
            np.sort(order[ll_KN.shape[1] - num_dropped :]),
            jump_N,
        ),
    )


def neighbours(run_K: np.ndarray, place_K: np.ndarray, kept_K: np.ndarray) -> np.ndarray:
    """Rows [P, 2] of neighbouring saved checkpoints of a run that are both kept.

    For the arguments see `clean_pretraining`.
    """
    run_K, place_K = np.asarray(run_K), np.asarray(place_K)
    order = np.lexsort((place_K, run_K))
    first, second = order[:-1], order[1:]
    together = (run_K[first] == run_K[second]) & (place_K[first] + 1 == place_K[second])
    together &= kept_K[first] & kept_K[second]
    return np.stack([first[together], second[together]], axis=1)


def largest_jumps(ll_KN: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """The largest |l_j - l_i| of each text over pairs of rows, [N] in nats; zero without pairs."""
    jump_N = np.zeros(ll_KN.shape[1])
    for i, j in pairs_P2:
        np.maximum(jump_N, np.abs(ll_KN[j] - ll_KN[i]), out=jump_N)
    return jump_N
