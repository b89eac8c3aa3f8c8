"""KL of pairs with groups of texts left out, for standard errors of functions of several KLs.

Texts are the sample. They are dealt into G groups (text n is of group n mod G); a quantity is
computed from all texts and from all but each group, and the spread of the latter gives its
standard error, sqrt((G - 1) / G sum_g (x_g - mean x)^2): the delete-a-group jackknife (Quenouille
1956; Efron and Tibshirani 1993, chapter 11). KLs of one run share texts, so that their errors are
correlated; this counts it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxmap.stats.units import variance_per_kl

GROUPS = 20
CHUNK = 256  # pairs whose differences are in memory at a time


class LeftOut(NamedTuple):
    """KL of P pairs, bits per byte: of all texts float64 [P], and without each group [G, P]."""

    kl: np.ndarray
    without: np.ndarray


def kl_left_out(
    ll_KN: np.ndarray, pairs_P2: np.ndarray, mean_bytes: float, groups: int = GROUPS
) -> LeftOut:
    """KL of listed pairs: Var_n(l_i - l_j) / (2 B ln 2), population variances, in float64.

    B, the mean bytes of a text, is the same for all groups. There have to be
    three texts at least.
    """
    pairs_P2 = np.asarray(pairs_P2, np.int64).reshape(-1, 2)
    N = ll_KN.shape[1]
    G = min(groups, N - 1)
    member_NG = np.zeros((N, G))
    member_NG[np.arange(N), np.arange(N) % G] = 1.0
    count_G = member_NG.sum(axis=0)
    kl_P = np.empty(len(pairs_P2))
    without_GP = np.empty((G, len(pairs_P2)))
    for first in range(0, len(pairs_P2), CHUNK):
        i_C, j_C = pairs_P2[first : first + CHUNK].T
        diff_CN = ll_KN[i_C] - ll_KN[j_C]
        diff_CN -= diff_CN.mean(axis=1, keepdims=True)  # what is left out moves it by little
        square_CN = diff_CN * diff_CN
        sum_CG, squares_CG = diff_CN @ member_NG, square_CN @ member_NG
        left_C1 = square_CN.sum(axis=1, keepdims=True)
        kl_P[first : first + CHUNK] = left_C1[:, 0] / N
        kept_G = N - count_G
        variance_CG = (left_C1 - squares_CG) / kept_G - (sum_CG / kept_G) ** 2
        without_GP[:, first : first + CHUNK] = np.maximum(variance_CG, 0.0).T
    unit = variance_per_kl(mean_bytes)
    return LeftOut(kl_P / unit, without_GP / unit)


def standard_error(without_G: np.ndarray) -> np.ndarray:
    """Of a quantity that was computed without each group, [G, ...]; NaN where it is not finite."""
    G = len(without_G)
    spread = without_G - without_G.mean(axis=0)
    return np.sqrt((G - 1) / G * (spread * spread).sum(axis=0))
