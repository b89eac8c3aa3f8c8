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
FEWEST = 5  # the smallest number of models for t-SNE
ALIKE = 1e-9  # sqrt(bits/byte); models with a smaller spread differ by rounding only
LARGE = 300  # rows from which an iteration is faster than a full decomposition

Method = Literal["tsne", "pca"]


@dataclass(frozen=True)
class Embedding:
    """Positions of models on a map, and the method.

    Fields:
      method: t-SNE or principal components.
      xy_K2: float64. Principal components are in the unit of the coordinates (sqrt(bits/byte) for
        `centre.coordinates`); t-SNE has no unit, and its large distances mean little.
      perplexity: the perplexity used; NaN for principal components.
      explained: the shares of the variance along x and y, 0 to 1; NaN for t-SNE.
      note: what a reader must know, or "".
    """

    method: Method
    xy_K2: np.ndarray
    perplexity: float = float("nan")
    explained: tuple[float, float] = (float("nan"), float("nan"))
    note: str = ""


def pca(q_KN: np.ndarray) -> Embedding:
    """The two leading principal components of rows, from an exact decomposition in float64.

    The sign of each axis is chosen so that the position farthest from zero is positive; otherwise a
    map could be mirrored from one run to the next.
    """
    x_KN = np.asarray(q_KN, np.float64)
    x_KN = x_KN - x_KN.mean(axis=0)
    xy_K2, value_2, total = leading_plane(x_KN @ x_KN.T)
    explained = value_2 / total if total > 0 else np.zeros(2)
    return Embedding("pca", xy_K2, explained=(float(explained[0]), float(explained[1])))


def leading_plane(gram_KK: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions in the plane of the largest spread, from inner products of centred rows.

    Returns positions [K, 2], the two leading eigenvalues, and the sum of all eigenvalues. Missing
    dimensions of fewer than three rows are zero.
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
    """The `count` largest eigenvalues, in ascending order, and their vectors, in float64."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackError, eigsh

    size = len(matrix_KK)
    if size >= LARGE and matrix_KK.any():
        # Two of many eigenvalues, by Lanczos iteration from a fixed start.
        start_K = np.random.default_rng(SEED).normal(size=size)
        with contextlib.suppress(
            ArpackError
        ):  # no gap after the second eigenvalue: decompose fully
            return eigsh(matrix_KK, count, which="LA", v0=start_K, tol=0.0)
    return eigh(matrix_KK, subset_by_index=(size - count, size - 1))


def tsne_obstacle(q_KN: np.ndarray) -> str:
    """Why t-SNE of these rows is impossible; "" if it is possible.

    If all rows are alike, scikit-learn would divide by a spread of zero, which crashes its compiled
    code.
    """
    num_models = len(q_KN)
    if num_models < FEWEST:
        return f"{num_models} models are too few for t-SNE"
    x_KN = np.asarray(q_KN, np.float64)
    spread = float(np.sqrt(x_KN.var(axis=0).sum()))
    if not spread > ALIKE:
        return f"all {num_models} models score alike (KL 0): a t-SNE would show noise alone"
    return ""


def tsne(
    q_KN: np.ndarray, perplexity: float = PERPLEXITY, *, lowered: bool = True
) -> Embedding | None:
    """t-SNE of rows with scikit-learn, init "pca", learning rate "auto", random_state 42.

    A perplexity above a third of the other models has no meaning: it is lowered to that, and a note
    says so. With `lowered` false it is only lowered as far as scikit-learn requires, below the
    number of models. Returns None if `tsne_obstacle` gives a reason. It runs in one thread: with
    several, sums have a varying order, and the same data would give different maps.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if tsne_obstacle(q_KN):
        return None
    num_models = len(q_KN)
    fits = (num_models - 1) / 3
    used = min(perplexity, fits) if lowered or num_models <= perplexity else perplexity
    note = (
        f"t-SNE: perplexity {used:.3g} instead of {perplexity:g}, since there are {num_models} "
        "models"
        if used < perplexity
        else ""
    )
    method = TSNE(init="pca", learning_rate="auto", random_state=SEED, perplexity=used)
    with threadpool_limits(limits=1):
        xy_K2 = method.fit_transform(np.asarray(q_KN))
    return Embedding("tsne", np.asarray(xy_K2, np.float64), perplexity=float(used), note=note)


def procrustes(xy_K2: np.ndarray, other_K2: np.ndarray) -> float:
    """The difference of two maps of the same points, up to rotation, reflection, shift and scale.

    Both are centred and scaled to a sum of squares of 1, and one is rotated to match the other; the
    result is the remaining sum of squared distances, from 0 (equal maps) to 1 (scipy's disparity).
    It is NaN if all points of a map coincide.
    """
    from scipy.spatial import procrustes as fit

    try:
        return float(fit(np.asarray(xy_K2, float), np.asarray(other_K2, float))[2])
    except ValueError:  # all points of a map coincide
        return float("nan")
