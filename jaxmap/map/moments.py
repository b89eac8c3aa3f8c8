"""Moments of the differences of log-likelihood vectors: the kernels under the KL divergence.

m2 is the variance over texts of l_i - l_j, m4 - m2^2 is N times the variance of that variance, m4
being the fourth central moment (Cramer 1946, 27.4).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

# Pairs closer than this, as a share of their norms, are computed from differences. A product in
# float64 is off by about 1e-16 of the squared norms, so that what is left of it is good to 1e-11
# for a KL, and, with a fourth power, to 1e-7 for its error.
NEAR = 1e-4
NEAR_BARE = 1e-7  # where no errors are wanted: good to 1e-9 for a KL
ROWS = 16  # of a matrix worked on at a time


def _moments(d_N: jax.Array) -> tuple[jax.Array, jax.Array]:
    d2_N = jnp.square(d_N - d_N.mean())
    m2 = d2_N.mean()
    return m2, jnp.square(d2_N - m2).mean()


@functools.partial(jax.jit, static_argnames="batch")
def pair_moments(ll_KN: jax.Array, pairs_P2: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
    """m2 and m4 - m2^2 of l_i - l_j for listed pairs, [P] each; `batch` pairs at a time."""
    return jax.lax.map(lambda ij: _moments(ll_KN[ij[0]] - ll_KN[ij[1]]), pairs_P2, batch_size=batch)


@jax.jit
def tile_moments(q_AN: jax.Array, q_BN: jax.Array) -> tuple[jax.Array, jax.Array]:
    """m2 and m4 - m2^2 of q_a - q_b for all a, b, [A, B] each, from the differences themselves.

    Nothing is cancelled and no matrix product is used, so that it holds in float32 on any device.
    """
    return jax.vmap(lambda a_N: jax.vmap(lambda b_N: _moments(a_N - b_N))(q_BN))(q_AN)


def local_mesh() -> Mesh:
    """All devices of this process in a row, along the axis `rows`."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("rows",), (AxisType.Auto,), devices=devices)


@functools.partial(jax.jit, static_argnames="mesh")
def spread_tile(q_AN: jax.Array, q_BN: jax.Array, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """`tile_moments`, each device doing some rows of A, whose number it has to divide."""
    split = jax.shard_map(tile_moments, mesh=mesh, in_specs=(P("rows"), P()), out_specs=P("rows"))
    return split(q_AN, q_BN)


@functools.partial(jax.jit, static_argnames=("batch", "mesh"))
def spread_pairs(
    ll_KN: jax.Array, pairs_P2: jax.Array, batch: int, mesh: Mesh
) -> tuple[jax.Array, jax.Array]:
    """`pair_moments`, each device doing some of the pairs, whose number it has to divide."""
    split = jax.shard_map(
        functools.partial(pair_moments, batch=batch),
        mesh=mesh, in_specs=(P(), P("rows")), out_specs=P("rows"),
    )  # fmt: skip
    return split(ll_KN, pairs_P2)


def product_moments(
    q_AN: np.ndarray, q_BN: np.ndarray, errors: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`tile_moments` of rows of mean zero, from BLAS products in float64, for the CPU.

    N m2 = |a|^2 + |b|^2 - 2 a.b, and N m4 likewise from products of second and third powers.
    There it beats differences by ten times and more. Without `errors` the second result is empty.
    The third is where m2 <= NEAR (|a|^2 + |b|^2) / N, bool [A, B]: too much was cancelled there
    (NEAR_BARE without errors).
    All are symmetric to the last bit where B is A.
    """
    num_texts = q_AN.shape[1]
    same = q_BN is q_AN
    m2_AB = q_AN @ q_BN.T  # X @ X.T is recognised as symmetric, and costs half
    if same:
        norm_A = norm_B = np.diag(m2_AB) / num_texts
    else:
        norm_A, norm_B = (np.einsum("kn,kn->k", q, q) / num_texts for q in (q_AN, q_BN))
    near_AB = np.empty(m2_AB.shape, bool)
    for first in range(0, len(m2_AB), ROWS):  # few enough to stay in the cache
        block = slice(first, first + ROWS)
        norm_RB = norm_A[block, None] + norm_B
        m2_AB[block] *= -2.0 / num_texts
        m2_AB[block] += norm_RB
        norm_RB *= NEAR if errors else NEAR_BARE
        np.less_equal(m2_AB[block], norm_RB, out=near_AB[block])
    if not errors:
        return m2_AB, np.empty((0, 0)), near_AB
    a2_AN = q_AN * q_AN
    b2_BN = a2_AN if same else q_BN * q_BN
    m4_AB = 6.0 * (a2_AN @ b2_BN.T)
    m4_AB += np.add.outer(*(np.einsum("kn,kn->k", one, one) for one in (a2_AN, b2_BN)))
    cross_AB = (a2_AN * q_AN) @ q_BN.T
    cross_AB = cross_AB + (cross_AB.T if same else q_AN @ (b2_BN * q_BN).T)
    cross_AB *= 4.0
    m4_AB -= cross_AB
    m4_AB /= num_texts
    m4_AB -= m2_AB * m2_AB
    return m2_AB, m4_AB, near_AB
