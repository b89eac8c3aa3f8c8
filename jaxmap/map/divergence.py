"""KL divergence between models from their log-likelihood vectors, with standard errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# float64 values in one temporary: 2 MiB, so that a block stays in the cache.
BLOCK = 2**18


class Divergence(NamedTuple):
    """Estimates and their standard errors, float64 of the same shape, bits per byte."""

    kl: np.ndarray
    standard_error: np.ndarray


def kl_pairs(ll_KN: np.ndarray, pairs_P2: np.ndarray, mean_bytes: float) -> Divergence:
    """KL_ij = Var_n(l_i - l_j) / (2 B ln 2) of chosen pairs of models, [P], bits per byte.

    Kishino et al., arXiv 2505.15353: l in nats, B the mean bytes of a text, population variance.
    It is computed from the differences, in float64: neighbouring checkpoints differ by far less
    than their norms, so that a Gram matrix would cancel. The texts are the sample: the variance
    of a sample variance is (m4 - m2^2) / N for large N (Cramer 1946, 27.4), m4 and m2 being the
    central moments of l_i - l_j.
    """
    ll_KN = np.asarray(ll_KN)
    pairs_P2 = np.asarray(pairs_P2, dtype=np.int64).reshape(-1, 2)
    num_texts = ll_KN.shape[1]
    m2_P = np.empty(len(pairs_P2))
    spread_P = np.empty(len(pairs_P2))  # m4 - m2^2
    rows = max(1, BLOCK // num_texts)
    for start in range(0, len(pairs_P2), rows):
        block = slice(start, start + rows)
        i_B, j_B = pairs_P2[block].T
        d_BN = np.subtract(ll_KN[i_B], ll_KN[j_B], dtype=np.float64)
        d_BN -= d_BN.mean(axis=1, keepdims=True)
        d_BN *= d_BN
        m2_P[block] = d_BN.mean(axis=1)
        d_BN -= m2_P[block, None]
        spread_P[block] = np.einsum("bn,bn->b", d_BN, d_BN) / num_texts
    unit = 2.0 * mean_bytes * math.log(2.0)
    return Divergence(m2_P / unit, np.sqrt(spread_P / num_texts) / unit)


def kl_KK(ll_KN: np.ndarray, mean_bytes: float) -> Divergence:
    """`kl_pairs` of all models, as symmetric matrices [K, K] with a zero diagonal."""
    num_models = len(ll_KN)
    upper = np.stack(np.triu_indices(num_models, k=1), axis=1)
    matrices = []
    for value_P in kl_pairs(ll_KN, upper, mean_bytes):
        matrix_KK = np.zeros((num_models, num_models))
        matrix_KK[upper[:, 0], upper[:, 1]] = value_P
        matrices.append(matrix_KK + matrix_KK.T)
    return Divergence(*matrices)
