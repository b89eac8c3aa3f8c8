"""Coordinates of models: their vectors, doubly centred (Oyama et al., arXiv 2502.16173)."""

from __future__ import annotations

import math

import jax
import numpy as np

from jaxmap.stats.float64 import precise
from jaxmap.stats.units import variance_per_kl


@jax.jit
def centre(ll_KN: jax.Array, weight_N: jax.Array) -> jax.Array:
    """Q = L - row means - column means + grand mean, [K, N] in the dtype given.

    Row means are over texts, with the weights given (they sum to 1); column means over models.
    """
    q_KN = ll_KN - (ll_KN * weight_N[None]).sum(axis=1, keepdims=True)
    return q_KN - q_KN.mean(axis=0, keepdims=True)


def double_centre(ll_KN: np.ndarray, weight_N: np.ndarray | None = None) -> np.ndarray:
    """`centre` in float64, in the unit of ll_KN; without weights every text has equal weight."""
    ll_KN = np.asarray(ll_KN, np.float64)
    weight_N = np.ones(ll_KN.shape[1]) if weight_N is None else np.asarray(weight_N, np.float64)
    with precise():
        return np.asarray(centre(ll_KN, weight_N / weight_N.sum()), np.float64)


def coordinates(ll_KN: np.ndarray, mean_bytes: float) -> np.ndarray:
    """Q / sqrt(2 N B ln 2), float64 [K, N]: squared distances are KL in bits per byte."""
    unit = np.shape(ll_KN)[1] * variance_per_kl(mean_bytes)
    return double_centre(ll_KN) / math.sqrt(unit)
