"""KL divergence between models from their log-likelihood vectors, with standard errors.

KL_ij = Var_n(l_i - l_j) / (2 B ln 2), population variance over texts n, in bits per byte: l in
nats, B the mean bytes of a text (Oyama et al., arXiv 2502.16173; Kishino et al., arXiv 2505.15353).
The texts are the sample: the variance of a sample variance is (m4 - m2^2) / N for large N (Cramer
1946, 27.4), m4 and m2 being the central moments of l_i - l_j.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.map.precision import has_float64, precise

TILE = 1024  # models on a side of a tile of all pairs: 80 MB a factor at 10,000 texts
# Pairs closer than this, as a share of their norms, are computed from differences. A product in
# float64 is off by about 1e-16 of the squared norms, so that what is left of it is good to 1e-11
# for a KL, and, with a fourth power, to 1e-7 for its error.
NEAR = 1e-4

Method = Literal["auto", "products", "differences"]


class Divergence(NamedTuple):
    """Estimates and their standard errors, float64 of the same shape, bits per byte."""

    kl: np.ndarray
    standard_error: np.ndarray


# Kernels ----------------------------------------------------------------------------------------


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
    Rows are independent: shard A over a mesh.
    """
    return jax.vmap(lambda a_N: jax.vmap(lambda b_N: _moments(a_N - b_N))(q_BN))(q_AN)


def product_moments(
    q_AN: np.ndarray, q_BN: np.ndarray, errors: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`tile_moments` of rows of mean zero, from BLAS products in float64, for the CPU.

    N m2 = |a|^2 + |b|^2 - 2 a.b, and N m4 likewise from products of second and third powers.
    There it beats differences by ten times and more. Without `errors` the second result is empty.
    The third is (|a|^2 + |b|^2) / N, [A, B], which says how much was cancelled.
    """
    num_texts = q_AN.shape[1]
    same = q_BN is q_AN
    m2_AB = q_AN @ q_BN.T  # X @ X.T is recognised as symmetric, and costs half
    if same:
        norm_A = norm_B = np.diag(m2_AB) / num_texts
    else:
        norm_A, norm_B = (np.einsum("kn,kn->k", q, q) / num_texts for q in (q_AN, q_BN))
    norm_AB = norm_A[:, None] + norm_B
    m2_AB *= -2.0 / num_texts
    m2_AB += norm_AB
    if not errors:
        return m2_AB, np.empty((0, 0)), norm_AB
    a2_AN = q_AN * q_AN
    b2_BN = a2_AN if same else q_BN * q_BN
    m4_AB = 6.0 * (a2_AN @ b2_BN.T)
    m4_AB += np.einsum("an,an->a", a2_AN, a2_AN)[:, None]
    m4_AB += np.einsum("bn,bn->b", b2_BN, b2_BN)
    cross_AB = (a2_AN * q_AN) @ q_BN.T
    m4_AB -= 4.0 * cross_AB
    m4_AB -= 4.0 * (cross_AB.T if same else q_AN @ (b2_BN * q_BN).T)
    m4_AB /= num_texts
    m4_AB -= m2_AB * m2_AB
    return m2_AB, m4_AB, norm_AB


# Listed pairs -----------------------------------------------------------------------------------


def kl_pairs(ll_KN: np.ndarray, pairs_P2: np.ndarray, mean_bytes: float) -> Divergence:
    """KL of chosen pairs of models and its standard error, [P], bits per byte.

    From differences in float64 (float32 of centred rows on a device without it): neighbouring
    checkpoints differ by far less than their norms, so that a Gram matrix would cancel.
    """
    pairs_P2 = np.asarray(pairs_P2, dtype=np.int64).reshape(-1, 2)
    if not len(pairs_P2):
        return Divergence(np.empty(0), np.empty(0))
    m2_P, spread_P = _differences(np.asarray(ll_KN), pairs_P2)
    return _divergence(m2_P, spread_P, np.shape(ll_KN)[1], mean_bytes)


def _centred(ll_KN: np.ndarray) -> np.ndarray:
    """float64 as it is; where the device only has float32, centred before digits are lost."""
    ll_KN = np.asarray(ll_KN, np.float64)
    if has_float64():
        return ll_KN
    q_KN = ll_KN - ll_KN.mean(axis=1, keepdims=True)
    return q_KN - q_KN.mean(axis=0)


def _differences(ll_KN: np.ndarray, pairs_P2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """m2 and m4 - m2^2 of listed pairs; only the rows that they name are sent to the device."""
    used, rows_P2 = np.unique(pairs_P2, return_inverse=True)
    num_pairs = len(pairs_P2)
    # Sizes are rounded up, so that a handful of compiled programs serves them all.
    chosen_KN = np.zeros((_round_up(len(used)), ll_KN.shape[1]))
    chosen_KN[: len(used)] = _centred(ll_KN if len(used) == len(ll_KN) else ll_KN[used])
    padded_P2 = np.zeros((_round_up(num_pairs), 2), np.int32)
    padded_P2[:num_pairs] = rows_P2.reshape(-1, 2)
    # One pair after the other keeps a CPU in its cache; an accelerator wants many at once.
    batch = 1 if jax.default_backend() == "cpu" else 256
    with precise():
        found = pair_moments(chosen_KN, padded_P2, batch=batch)
        m2_P, spread_P = (np.asarray(one, np.float64)[:num_pairs] for one in found)
    return m2_P, spread_P


def _round_up(size: int) -> int:
    return max(64, 1 << (size - 1).bit_length())


def _divergence(
    m2: np.ndarray, spread: np.ndarray, num_texts: int, mean_bytes: float
) -> Divergence:
    unit = 2.0 * mean_bytes * math.log(2.0)
    return Divergence(m2 / unit, np.sqrt(np.maximum(spread, 0.0) / num_texts) / unit)


# All pairs --------------------------------------------------------------------------------------


def kl_strips(
    ll_KN: np.ndarray,
    mean_bytes: float,
    *,
    tile: int = TILE,
    method: Method = "auto",
    errors: bool = True,
    update: Callable[[int], object] | None = None,
) -> Iterator[tuple[int, Divergence]]:
    """All pairs, some rows at a time: (first row i, KL of rows i.. against columns i.., [T, K-i]).

    Args:
      ll_KN: nats, any float dtype; may be a memory map, of which two tiles are read at a time.
      tile: models on a side of a tile.
      method: `products` (float64 BLAS, close pairs from differences) on a CPU, `differences`
        (tile_moments on the device) elsewhere; `auto` chooses.
      errors: whether standard errors are wanted; without them that part is empty.
      update: called with the number of pairs done after each tile.

    Within a strip the part below the diagonal is filled too; the diagonal is exactly zero.
    """
    if method == "auto":
        method = "products" if jax.default_backend() == "cpu" else "differences"
    num_models, num_texts = ll_KN.shape
    mean_N = np.zeros(num_texts)
    for start in range(0, num_models, tile):
        mean_N += np.asarray(ll_KN[start : start + tile], np.float64).sum(axis=0)
    mean_N /= num_models
    for start in range(0, num_models, tile):
        q_AN = _rows(ll_KN, start, tile, mean_N)
        strip = []
        for other in range(start, num_models, tile):
            q_BN = q_AN if other == start else _rows(ll_KN, other, tile, mean_N)
            if method == "products":
                moments = _product_tile(q_AN, q_BN, errors)
            else:
                with precise():
                    m2_AB, spread_AB = tile_moments(q_AN, q_BN)
                    moments = np.array(m2_AB, np.float64), np.array(spread_AB, np.float64)
            if other == start:
                for matrix in moments:
                    np.fill_diagonal(matrix, 0.0)
            strip.append(_divergence(*moments, num_texts, mean_bytes))
            if update:
                size = len(q_AN)
                update(size * (size - 1) // 2 if other == start else size * len(q_BN))
        if len(strip) == 1:
            yield start, strip[0]
        else:
            parts = zip(*strip, strict=True)
            yield start, Divergence(*(np.concatenate(part, axis=1) for part in parts))


def kl_KK(
    ll_KN: np.ndarray,
    mean_bytes: float,
    *,
    out: Divergence | None = None,
    **options,
) -> Divergence:
    """All pairs of models as symmetric matrices [K, K] with a zero diagonal, bits per byte.

    `out` are two arrays to fill, memory maps for many models (20,000 models: 3.2 GB each, and 0.5
    GB of working memory); its second may be empty with `errors=False`. Options: see `kl_strips`.
    """
    num_models = len(ll_KN)
    with_errors = options.get("errors", True)
    if out is None:
        side = num_models if with_errors else 0
        out = Divergence(np.zeros((num_models, num_models)), np.zeros((side, side)))
    for start, strip in kl_strips(ll_KN, mean_bytes, **options):
        for matrix_KK, part_TK in zip(out, strip, strict=True):
            if matrix_KK.size:
                stop = start + len(part_TK)
                matrix_KK[start:stop, start:] = part_TK
                matrix_KK[stop:, start:stop] = part_TK[:, stop - start :].T
    return out


def _rows(ll_KN: np.ndarray, start: int, tile: int, mean_N: np.ndarray) -> np.ndarray:
    """Some rows, doubly centred: the mean over models first, then what is left of each row's."""
    ll_TN = ll_KN[start : start + tile]
    q_TN = np.empty(ll_TN.shape)
    for first in range(0, len(q_TN), 16):  # few enough to stay in the cache
        block = slice(first, first + 16)
        np.subtract(ll_TN[block], mean_N, out=q_TN[block])
        q_TN[block] -= q_TN[block].mean(axis=1, keepdims=True)
    return q_TN


def _product_tile(
    q_AN: np.ndarray, q_BN: np.ndarray, errors: bool
) -> tuple[np.ndarray, np.ndarray]:
    m2_AB, spread_AB, norm_AB = product_moments(q_AN, q_BN, errors)
    same = q_BN is q_AN
    near_AB = m2_AB <= NEAR * norm_AB
    if same:
        near_AB = np.triu(near_AB, k=1)
    i_P, j_P = np.nonzero(near_AB)
    if len(i_P):
        q_KN = q_AN if same else np.concatenate([q_AN, q_BN])
        pairs_P2 = np.stack([i_P, j_P + (0 if same else len(q_AN))], axis=1)
        m2_AB[i_P, j_P], spread_P = _differences(q_KN, pairs_P2)
        if errors:
            spread_AB[i_P, j_P] = spread_P
    if same:  # products of rows with themselves are symmetric up to rounding only
        lower = np.tril_indices(len(m2_AB), k=-1)
        for matrix in (m2_AB, spread_AB) if errors else (m2_AB,):
            matrix[lower] = matrix.T[lower]
    return m2_AB, spread_AB
