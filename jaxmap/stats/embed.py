"""Maps in two dimensions: t-SNE as published, and the principal components beside it.

Settings of t-SNE: Oyama et al. (arXiv 2502.16173) and Kishino et al. (arXiv 2505.15353).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

PERPLEXITY = 30.0  # pretraining, quantisation, layers
PERPLEXITY_FAMILIES = 20.0  # parents and children
SEED = 42
FEWEST = 5  # models of a t-SNE
ALIKE = 1e-9  # sqrt(bits/byte): the spread below which models are one model and its rounding
LARGE = 300  # rows from which an iteration beats a whole decomposition

Method = Literal["tsne", "pca"]


@dataclass(frozen=True)
class Embedding:
    """Places of models on a map, and how they came about.

    xy_K2: float64. Principal components are in the unit of the coordinates (sqrt(bits/byte) for
      `centre.coordinates`); those of t-SNE have no unit, and distances across it say little.
    perplexity: as used; NaN for principal components.
    explained: share of the variance along x and y, in 0..1; NaN for t-SNE.
    note: what a reader has to know, else "".
    """

    method: Method
    xy_K2: np.ndarray
    perplexity: float = float("nan")
    explained: tuple[float, float] = (float("nan"), float("nan"))
    note: str = ""


def pca(q_KN: np.ndarray) -> Embedding:
    """The two leading principal components of rows, from an exact decomposition in float64.

    Of each axis the place that lies farthest out is positive, so that a map is not mirrored from
    one run to the next.
    """
    x_KN = np.asarray(q_KN, np.float64)
    x_KN = x_KN - x_KN.mean(axis=0)
    xy_K2, value_2, total = leading_plane(x_KN @ x_KN.T)
    explained = value_2 / total if total > 0 else np.zeros(2)
    return Embedding("pca", xy_K2, explained=(float(explained[0]), float(explained[1])))


def leading_plane(gram_KK: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Places in the plane of the largest spread, from inner products of centred rows.

    Returns places [K, 2], the two leading eigenvalues, and the sum of all. Fewer than three rows
    span no plane: what is missing is zero.
    """
    size = len(gram_KK)
    value_K, vector_KK = _eigh(gram_KK, min(2, size))
    value_2, vector_K2 = np.zeros(2), np.zeros((size, 2))
    value_2[: len(value_K)] = np.maximum(value_K[::-1], 0.0)
    vector_K2[:, : len(value_K)] = vector_KK[:, ::-1]
    xy_K2 = vector_K2 * np.sqrt(value_2)
    farthest_2 = xy_K2[np.abs(xy_K2).argmax(axis=0), np.arange(2)]
    return xy_K2 * np.where(farthest_2 < 0, -1.0, 1.0), value_2, float(np.trace(gram_KK))


def _eigh(matrix_KK: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, rising, and their vectors, to the rounding of float64."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackError, eigsh

    size = len(matrix_KK)
    if size >= LARGE and matrix_KK.any():
        # Two of many by Lanczos iteration, from the same start each time.
        start_K = np.random.default_rng(SEED).normal(size=size)
        with contextlib.suppress(ArpackError):  # no gap after the second: the slow way
            return eigsh(matrix_KK, count, which="LA", v0=start_K, tol=0.0)
    return eigh(matrix_KK, subset_by_index=(size - count, size - 1))


def tsne_obstacle(q_KN: np.ndarray) -> str:
    """Why there is no t-SNE of these rows; "" where there is one.

    Rows that are all alike have no spread to begin from: scikit-learn would divide by it, and its
    compiled code does not survive that.
    """
    num_models = len(q_KN)
    if num_models < FEWEST:
        return f"{num_models} models are too few for t-SNE"
    x_KN = np.asarray(q_KN, np.float64)
    spread = float(np.sqrt(x_KN.var(axis=0).sum()))
    if not spread > ALIKE:
        return f"all {num_models} models score alike (KL 0): no t-SNE can tell them apart"
    return ""


def tsne(
    q_KN: np.ndarray, perplexity: float = PERPLEXITY, *, lowered: bool = True
) -> Embedding | None:
    """t-SNE of rows with scikit-learn, init "pca", learning rate "auto", random_state 42.

    A third of the other models is the most that a perplexity can mean: with fewer than three times
    as many it is lowered, and a note says so; without `lowered` only where scikit-learn could not
    do it, for as many models or fewer. None where `tsne_obstacle` names a reason. In one
    thread: with several, sums come in another order each time, and the same data would give other
    maps.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if tsne_obstacle(q_KN):
        return None
    num_models = len(q_KN)
    fits = (num_models - 1) / 3
    used = min(perplexity, fits) if lowered or num_models <= perplexity else perplexity
    note = (
        f"t-SNE: perplexity {used:g} in place of {perplexity:g}, for {num_models} models are few"
        if used < perplexity
        else ""
    )
    method = TSNE(init="pca", learning_rate="auto", random_state=SEED, perplexity=used)
    with threadpool_limits(limits=1):
        xy_K2 = method.fit_transform(np.asarray(q_KN))
    return Embedding("tsne", np.asarray(xy_K2, np.float64), perplexity=float(used), note=note)


def procrustes(xy_K2: np.ndarray, other_K2: np.ndarray) -> float:
    """How far two maps of the same points differ, whatever is turned, mirrored, moved or scaled.

    The sum of squared distances that is left when both are centred, scaled to a sum of squares of
    1 and laid on one another as well as can be: 0 for the same map, at most 1 (scipy's disparity).
    NaN where the points of one coincide.
    """
    from scipy.spatial import procrustes as fit

    try:
        return float(fit(np.asarray(xy_K2, float), np.asarray(other_K2, float))[2])
    except ValueError:  # all points of one map are one
        return float("nan")
