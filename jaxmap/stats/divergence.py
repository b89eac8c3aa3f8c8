"""KL divergence between models from their log-likelihood vectors, with standard errors.

KL_ij = Var_n(l_i - l_j) / (2 B ln 2), population variance over texts n, in bits per byte: l in
nats, B the mean bytes of a text (Oyama et al., arXiv 2502.16173; Kishino et al., arXiv 2505.15353).
The texts are the sample: the variance of a sample variance is (m4 - m2^2) / N for large N (Cramer
1946, 27.4), m4 and m2 being the central moments of l_i - l_j.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmap.stats.float64 import has_float64, precise
from jaxmap.stats.moments import (
    ROWS,
    TEXTS,
    CentredRows,
    local_mesh,
    pair_moments,
    product_moments,
    spread_pairs,
    spread_tile,
    tile_moments,
)
from jaxmap.stats.units import variance_per_kl

TILE = 1024  # models per side of a tile of the matrix of pairs; a tile has 8 MB
SOME = 32  # models whose mean is subtracted from all, which makes norms small for less rounding

Method = Literal["auto", "products", "differences"]


class Divergence(NamedTuple):
    """Estimates and their standard errors, float64 of the same shape, bits per byte."""

    kl: np.ndarray
    standard_error: np.ndarray


# Listed pairs -----------------------------------------------------------------------------------


def kl_pairs(
    ll_KN: np.ndarray, pairs_P2: np.ndarray, mean_bytes: float, mesh: Mesh | None = None
) -> Divergence:
    """The KL of chosen pairs of models and its standard error, [P] in bits per byte.

    It is computed from differences in float64 (or float32 of centred rows on a device without
    float64): neighbouring checkpoints differ by far less than their norms, so a Gram matrix would
    lose the digits. The pairs are divided over the devices of `mesh`, which has one axis `rows`;
    None stands for all devices of this process.
    """
    pairs_P2 = np.asarray(pairs_P2, dtype=np.int64).reshape(-1, 2)
    if not len(pairs_P2):
        return Divergence(np.empty(0), np.empty(0))
    m2_P, spread_P = _differences(np.asarray(ll_KN), pairs_P2, mesh)
    return _divergence(m2_P, spread_P, np.shape(ll_KN)[1], mean_bytes)


def _centred(ll_KN: np.ndarray) -> np.ndarray:
    """The matrix in float64; if the device has none, it is centred before it becomes float32."""
    ll_KN = np.asarray(ll_KN, np.float64)
    if has_float64():
        return ll_KN
    q_KN = ll_KN - ll_KN.mean(axis=1, keepdims=True)
    return q_KN - q_KN.mean(axis=0)


def _differences(
    ll_KN: np.ndarray, pairs_P2: np.ndarray, mesh: Mesh | None
) -> tuple[np.ndarray, np.ndarray]:
    """m2 and m4 - m2^2 of chosen pairs; only their rows are sent to the device."""
    mesh = mesh or local_mesh()
    used, rows_P2 = np.unique(pairs_P2, return_inverse=True)
    num_pairs = len(pairs_P2)
    # Sizes are rounded up, so that few compiled programs are needed.
    chosen_KN = np.zeros((_round_up(len(used)), ll_KN.shape[1]))
    chosen_KN[: len(used)] = _centred(ll_KN if len(used) == len(ll_KN) else ll_KN[used])
    padded = -(-_round_up(num_pairs) // mesh.size) * mesh.size
    padded_P2 = np.zeros((padded, 2), np.int32)
    padded_P2[:num_pairs] = rows_P2.reshape(-1, 2)
    # One pair at a time fits into a CPU's cache; an accelerator needs many at once.
    batch = 1 if jax.default_backend() == "cpu" else 256
    with precise():
        if mesh.size == 1:
            found = pair_moments(chosen_KN, padded_P2, batch=batch)
        else:
            found = spread_pairs(
                jax.device_put(chosen_KN, NamedSharding(mesh, P())),
                jax.device_put(padded_P2, NamedSharding(mesh, P("rows"))),
                batch=batch, mesh=mesh,
            )  # fmt: skip
        m2_P, spread_P = (np.array(one[:num_pairs], np.float64) for one in found)
    return m2_P, spread_P


def _round_up(size: int) -> int:
    return max(64, 1 << (size - 1).bit_length())


def _divergence(
    m2: np.ndarray, spread: np.ndarray, num_texts: int, mean_bytes: float
) -> Divergence:
    """KL and standard error from moments, written in place."""
    unit = variance_per_kl(mean_bytes)
    m2 /= unit
    np.maximum(spread, 0.0, out=spread)
    spread /= num_texts
    np.sqrt(spread, out=spread)
    spread /= unit
    return Divergence(m2, spread)


# All pairs --------------------------------------------------------------------------------------


def kl_strips(
    ll_KN: np.ndarray,
    mean_bytes: float,
    *,
    tile: int = TILE,
    method: Method = "auto",
    errors: bool = True,
    mesh: Mesh | None = None,
    update: Callable[[int], object] | None = None,
) -> Iterator[tuple[int, Divergence]]:
    """All pairs, in strips of rows: yields (first row i, KL of rows i.. and columns i.., [T, K-i]).

    Within a strip the part below the diagonal is filled too; the diagonal is exactly zero.

    Args:
      ll_KN: nats, any float dtype; may be a memory map, of which parts are read at a time.
      mean_bytes: the mean number of bytes of a text.
      tile: the number of models per side of a tile.
      method: "products" (float64 BLAS, and differences for close pairs), the choice of "auto" on a
        CPU, or "differences" (`tile_moments` on the device), its choice elsewhere.
      errors: whether standard errors are computed; without them that part is empty.
      mesh: the devices, with one axis `rows`, over which "differences" divides the rows of a tile;
        None: all devices of this process.
      update: called with the number of pairs done after each tile.
    """
    if method == "auto":
        method = "products" if jax.default_backend() == "cpu" else "differences"
    num_models, num_texts = ll_KN.shape
    some_SN = ll_KN[:: max(1, num_models // SOME)]
    mean_N = np.asarray(some_SN, np.float64).mean(axis=0)
    # One tile is read once, and whole; of many, each is read often, and by parts.
    alone = num_models <= tile
    rest_K = None if alone else np.zeros(num_models)
    if rest_K is not None:
        for first in range(0, num_models, ROWS):
            block = slice(first, first + ROWS)
            rest_K[block] = (ll_KN[block] - mean_N).mean(axis=1)
    at_a_time = num_texts if alone else TEXTS
    tiles = [
        CentredRows(ll_KN, slice(start, start + tile), mean_N, rest_K)
        for start in range(0, num_models, tile)
    ]
    for i, own in enumerate(tiles):
        A, start = own.shape[0], own.rows.start
        whole = (A, num_models - start)
        strip = Divergence(np.empty(whole), np.empty(whole if errors else (0, 0)))
        q_AN = None if method == "products" else own.all()
        for other in tiles[i:]:
            same = other is own
            if q_AN is None:
                moments = _product_tile(own, None if same else other, errors, mesh, at_a_time)
            else:
                q_BN = q_AN if same else other.all()
                moments = _difference_tile(q_AN, q_BN, mesh or local_mesh())
            if same:
                for matrix in moments:
                    np.fill_diagonal(matrix, 0.0)
            columns = slice(other.rows.start - start, other.rows.stop - start)
            for into, part in zip(strip, _divergence(*moments, num_texts, mean_bytes), strict=True):
                if into.size:
                    into[:, columns] = part
            if update:
                update(A * (A - 1) // 2 if same else A * other.shape[0])
        yield start, strip


def kl_KK(
    ll_KN: np.ndarray,
    mean_bytes: float,
    *,
    out: Divergence | None = None,
    **options,
) -> Divergence:
    """All pairs of models as symmetric matrices [K, K] with a zero diagonal, in bits per byte.

    `out` are two arrays to fill, which can be memory maps for many models (20,000 models: 3.2 GB
    each, and 0.5 GB of working memory); the second may be empty with `errors=False`. The other
    options are those of `kl_strips`.
    """
    num_models = len(ll_KN)
    with_errors = options.get("errors", True)
    for start, strip in kl_strips(ll_KN, mean_bytes, **options):
        if out is None and len(strip.kl) == num_models:
            return strip
        if out is None:
            side = num_models if with_errors else 0
            out = Divergence(np.zeros((num_models, num_models)), np.zeros((side, side)))
        for matrix_KK, part_TK in zip(out, strip, strict=True):
            if matrix_KK.size:
                stop = start + len(part_TK)
                matrix_KK[start:stop, start:] = part_TK
                matrix_KK[stop:, start:stop] = part_TK[:, stop - start :].T
    return out or Divergence(np.empty((0, 0)), np.empty((0, 0)))


def nearest_others(matrix_KK: np.ndarray) -> np.ndarray:
    """The row of the nearest other model of each, int64 [K], by the KL of every two, [K, K].

    A KL of exactly 0 is passed over: its two rows are the same scores under two names. -1 stands
    for a model without any other.
    """
    if not len(matrix_KK):
        return np.empty(0, np.int64)
    apart_KK = np.where(matrix_KK > 0, matrix_KK, np.inf)
    nearest_K = apart_KK.argmin(axis=1)
    return np.where(np.isfinite(apart_KK[np.arange(len(apart_KK)), nearest_K]), nearest_K, -1)


def first_equals(matrix_KK: np.ndarray) -> np.ndarray:
    """The first row at a KL of exactly 0 from each, int64 [K]: the same scores, or the row itself.

    The argument is the KL of every two models, [K, K], whose diagonal is 0.
    """
    if not len(matrix_KK):
        return np.empty(0, np.int64)
    return (matrix_KK == 0).argmax(axis=1)


def _difference_tile(
    q_AN: np.ndarray, q_BN: np.ndarray, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    size = len(q_AN)
    with precise():
        if mesh.size == 1:
            found = tile_moments(q_AN, q_BN)
        else:
            short = -size % mesh.size
            rows_AN = np.concatenate([q_AN, np.zeros((short, q_AN.shape[1]))]) if short else q_AN
            found = spread_tile(
                jax.device_put(rows_AN, NamedSharding(mesh, P("rows"))),
                jax.device_put(q_BN, NamedSharding(mesh, P())),
                mesh=mesh,
            )
        m2_AB, spread_AB = (np.array(one[:size], np.float64) for one in found)
    return m2_AB, spread_AB


def _product_tile(
    own: CentredRows, other: CentredRows | None, errors: bool, mesh: Mesh | None, at_a_time: int
) -> tuple[np.ndarray, np.ndarray]:
    """The moments of all pairs of two tiles, or of a tile with itself (`other` is None)."""
    m2_AB, spread_AB, near_AB = product_moments(own, other, errors, at_a_time)
    same = other is None
    if same:
        near_AB = np.triu(near_AB, k=1)
    i_P, j_P = np.nonzero(near_AB)
    if len(i_P):
        used_A, row_P = np.unique(i_P, return_inverse=True)
        used_B, other_P = np.unique(j_P, return_inverse=True)
        q_KN = np.concatenate([own.all(used_A), (other or own).all(used_B)])
        pairs_P2 = np.stack([row_P, other_P + len(used_A)], axis=1)
        m2_P, spread_P = _differences(q_KN, pairs_P2, mesh)
        both = ((m2_AB, m2_P), (spread_AB, spread_P))
        for matrix, value_P in both if errors else both[:1]:
            matrix[i_P, j_P] = value_P
            if same:
                matrix[j_P, i_P] = value_P
    return m2_AB, spread_AB
