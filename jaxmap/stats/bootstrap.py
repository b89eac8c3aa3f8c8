"""KL under resamples of the texts, for the standard error of any statistic of many KLs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxmap.stats.float64 import precise
from jaxmap.stats.units import variance_per_kl


@jax.jit
def _draw_variances(d_BN: jax.Array, share_RN: jax.Array) -> jax.Array:
    d_BN = d_BN - d_BN.mean(axis=1, keepdims=True)
    highest = jax.lax.Precision.HIGHEST
    mean_BR = jnp.matmul(d_BN, share_RN.T, precision=highest)
    square_BR = jnp.matmul(jnp.square(d_BN), share_RN.T, precision=highest)
    return square_BR - jnp.square(mean_BR)


def bootstrap_shares(num_texts: int, draws: int, seed: int = 0) -> np.ndarray:
    """The share of each text in each of `draws` resamples with replacement, float64 [R, N]."""
    rng = np.random.default_rng(seed)
    count_RN = [np.bincount(rng.integers(0, num_texts, num_texts), minlength=num_texts)
                for _ in range(draws)]  # fmt: skip
    return np.stack(count_RN) / num_texts


def drawn_sums(sums_UP: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """The sums over units of P quantities in each of R = `draws` resamples of the units with
    replacement, [R, P]; of each resample no more than the counts of the units is in memory."""
    rng = np.random.default_rng(seed)
    U = len(sums_UP)
    return np.stack(
        [np.bincount(rng.integers(0, U, U), minlength=U) @ sums_UP for _ in range(draws)]
    )


def bootstrap_pairs(
    ll_KN: np.ndarray, pairs_P2: np.ndarray, share_RN: np.ndarray, mean_bytes: float
) -> np.ndarray:
    """KL of chosen pairs in each resample of the texts, float64 [P, R], bits per byte.

    The spread over R of any statistic of these KLs is its standard error with the texts as the
    sample; B is taken as known. All pairs share the resamples, so that their differences are
    meaningful too.
    """
    pairs_P2 = np.asarray(pairs_P2, np.int64).reshape(-1, 2)
    num_texts = ll_KN.shape[1]
    variance_PR = np.empty((len(pairs_P2), len(share_RN)))
    block = min(256, max(1, len(pairs_P2)))
    with precise():
        shares = jnp.asarray(share_RN)
        for start in range(0, len(pairs_P2), block):
            i_B, j_B = pairs_P2[start : start + block].T
            d_BN = np.zeros((block, num_texts))
            d_BN[: len(i_B)] = np.subtract(ll_KN[i_B], ll_KN[j_B], dtype=np.float64)
            found_BR = _draw_variances(d_BN, shares)
            variance_PR[start : start + block] = np.asarray(found_BR)[: len(i_B)]
    return variance_PR / variance_per_kl(mean_bytes)
