"""Moments of the differences of log-likelihood vectors: the kernels under the KL divergence.

m2 is the variance over texts of l_i - l_j; m4 - m2^2 is N times the variance of that variance,
where m4 is the fourth central moment (Cramer 1946, 27.4).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

# Pairs closer than this, as a share of their norms, are computed from differences. The error of a
# float64 product is about 1e-16 of the squared norms, so that other pairs have a relative error of
# 1e-11 of a KL and, because of the fourth power, 1e-7 of its standard error.
NEAR = 1e-4
NEAR_BARE = 1e-7  # the same without standard errors: a relative error of 1e-9 of a KL
ROWS = 16  # rows of a matrix that are computed at a time
TEXTS = 1024  # texts whose products are summed at a time


class CentredRows:
    """Some rows of a matrix [K, N], minus a mean of each column and of each row.

    Args:
      ll_KN: nats; may be a memory map, which is read in parts.
      rows: the rows.
      mean_N: subtracted from each row.
      rest_K: the mean of the remainder of each row of the matrix; None: computed when whole rows
        are read.
    """

    def __init__(
        self, ll_KN: np.ndarray, rows: slice, mean_N: np.ndarray, rest_K: np.ndarray | None
    ):
        self._ll_KN, self._mean_N = ll_KN, mean_N
        self.rows = range(*rows.indices(len(ll_KN)))
        self._rest_A1 = None if rest_K is None else rest_K[rows, None]
        self.shape = len(self.rows), ll_KN.shape[1]

    def read(self, texts: slice, out: np.ndarray) -> None:
        """Fills `out`, [A, texts], with the columns of these texts."""
        for start in range(0, len(out), ROWS):
            block = slice(start, start + ROWS)
            rows = slice(
                self.rows.start + start, min(self.rows.start + start + ROWS, self.rows.stop)
            )
            np.subtract(self._ll_KN[rows, texts], self._mean_N[texts], out=out[block])
            if self._rest_A1 is None:
                out[block] -= out[block].mean(axis=1, keepdims=True)
            else:
                out[block] -= self._rest_A1[block]

    def all(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """All or the chosen rows, float64 [A, N]."""
        ll_AN = self._ll_KN[self.rows.start : self.rows.stop][chosen]
        q_AN = np.subtract(ll_AN, self._mean_N, dtype=np.float64)
        q_AN -= q_AN.mean(axis=1, keepdims=True) if self._rest_A1 is None else self._rest_A1[chosen]
        return q_AN


def _moments(d_N: jax.Array) -> tuple[jax.Array, jax.Array]:
    d2_N = jnp.square(d_N - d_N.mean())
    m2 = d2_N.mean()
    return m2, jnp.square(d2_N - m2).mean()


@functools.partial(jax.jit, static_argnames="batch")
def pair_moments(ll_KN: jax.Array, pairs_P2: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
    """m2 and m4 - m2^2 of l_i - l_j for chosen pairs, [P] each; `batch` pairs at a time."""
    return jax.lax.map(lambda ij: _moments(ll_KN[ij[0]] - ll_KN[ij[1]]), pairs_P2, batch_size=batch)


@jax.jit
def tile_moments(q_AN: jax.Array, q_BN: jax.Array) -> tuple[jax.Array, jax.Array]:
    """m2 and m4 - m2^2 of q_a - q_b for all a, b, [A, B] each, from the differences themselves.

    There is no cancellation and no matrix product, so that float32 is sufficient on any device.
    """
    return jax.vmap(lambda a_N: jax.vmap(lambda b_N: _moments(a_N - b_N))(q_BN))(q_AN)


def local_mesh() -> Mesh:
    """A mesh of all devices of this process with one axis, `rows`."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("rows",), (AxisType.Auto,), devices=devices)


@functools.partial(jax.jit, static_argnames="mesh")
def spread_tile(q_AN: jax.Array, q_BN: jax.Array, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """`tile_moments` with the rows of A divided evenly over the devices."""
    split = jax.shard_map(tile_moments, mesh=mesh, in_specs=(P("rows"), P()), out_specs=P("rows"))
    return split(q_AN, q_BN)


@functools.partial(jax.jit, static_argnames=("batch", "mesh"))
def spread_pairs(
    ll_KN: jax.Array, pairs_P2: jax.Array, batch: int, mesh: Mesh
) -> tuple[jax.Array, jax.Array]:
    """`pair_moments` with the pairs divided evenly over the devices."""
    split = jax.shard_map(
        functools.partial(pair_moments, batch=batch),
        mesh=mesh, in_specs=(P(), P("rows")), out_specs=P("rows"),
    )  # fmt: skip
    return split(ll_KN, pairs_P2)


def product_moments(
    q_AN: CentredRows, q_BN: CentredRows | None, errors: bool = True, at_a_time: int = TEXTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`tile_moments` for rows with mean zero, from BLAS products in float64, for CPUs.

    N m2 = |a|^2 + |b|^2 - 2 a.b, and N m4 likewise from products of second and third powers. On a
    CPU this is at least ten times as fast as differences.

    Args:
      q_AN: the rows A.
      q_BN: the rows B; None: A, which gives exactly symmetric results.
      errors: whether to compute the second result.
      at_a_time: the number of texts that are read and summed at a time, which bounds the memory.

    Returns m2 and m4 - m2^2 (empty without `errors`), float64 [A, B], and a mask of the pairs that
    cancellation makes too inexact, bool [A, B]: those with m2 <= NEAR (|a|^2 + |b|^2) / N, or
    NEAR_BARE without errors.
    """
    A, num_texts = q_AN.shape
    B = A if q_BN is None else q_BN.shape[0]
    own_AN = np.empty((A, min(at_a_time, num_texts)))
    other_BN = own_AN if q_BN is None else np.empty((B, min(at_a_time, num_texts)))
    power_AN, power_BN = np.empty_like(own_AN), np.empty_like(other_BN)
    m2_AB, m4_AB, cross_AB = (np.zeros((A, B) if n == 0 or errors else (0, 0)) for n in range(3))
    norm_A, norm_B, fourth_A, fourth_B = np.zeros(A), np.zeros(B), np.zeros(A), np.zeros(B)
    some_AB = np.empty((A, B))

    def add(sum_AB: np.ndarray, one_An: np.ndarray, other_Bn: np.ndarray) -> None:
        # NumPy recognises X @ X.T as symmetric, which halves the time.
        np.matmul(one_An, other_Bn.T, out=some_AB)
        np.add(sum_AB, some_AB, out=sum_AB)

    for first in range(0, num_texts, at_a_time):
        texts = slice(first, min(first + at_a_time, num_texts))
        size = texts.stop - first
        q_An, q_Bn = own_AN[:, :size], other_BN[:, :size]
        q_AN.read(texts, q_An)
        if q_BN is not None:
            q_BN.read(texts, q_Bn)
            norm_B += np.einsum("kn,kn->k", q_Bn, q_Bn)
        norm_A += np.einsum("kn,kn->k", q_An, q_An)
        add(m2_AB, q_An, q_Bn)
        if not errors:
            continue
        a_An = np.multiply(q_An, q_An, out=power_AN[:, :size])
        b_Bn = a_An
        fourth_A += np.einsum("kn,kn->k", a_An, a_An)
        if q_BN is not None:
            b_Bn = np.multiply(q_Bn, q_Bn, out=power_BN[:, :size])
            fourth_B += np.einsum("kn,kn->k", b_Bn, b_Bn)
        add(m4_AB, a_An, b_Bn)
        add(cross_AB, np.multiply(a_An, q_An, out=a_An), q_Bn)
        if q_BN is not None:
            add(cross_AB, q_An, np.multiply(b_Bn, q_Bn, out=b_Bn))
    if q_BN is None:
        norm_A = norm_B = np.diag(m2_AB).copy()
        fourth_B = fourth_A
    near_AB = np.empty((A, B), bool)
    for first in range(0, A, ROWS):  # few enough to stay in the cache
        block = slice(first, first + ROWS)
        norm_RB = (norm_A[block, None] + norm_B) / num_texts
        m2_AB[block] *= -2.0 / num_texts
        m2_AB[block] += norm_RB
        norm_RB *= NEAR if errors else NEAR_BARE
        np.less_equal(m2_AB[block], norm_RB, out=near_AB[block])
        if errors:
            m4_AB[block] *= 6.0
            m4_AB[block] += fourth_A[block, None] + fourth_B
    if not errors:
        return m2_AB, m4_AB, near_AB
    if q_BN is None:
        np.add(cross_AB, cross_AB.T, out=some_AB)
        cross_AB = some_AB
    cross_AB *= 4.0
    m4_AB -= cross_AB
    m4_AB /= num_texts
    m4_AB -= np.square(m2_AB, out=some_AB)
    return m2_AB, m4_AB, near_AB
