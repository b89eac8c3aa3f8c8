"""Bits per byte: how well a model predicts texts, whatever its tokenizer."""

from __future__ import annotations

import numpy as np


def bits_per_byte(ll_KN: np.ndarray, bytes_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits per byte of K models over N texts, and its standard error with texts as the sample.

    sum_n -ll_n / (ln 2 · sum_n bytes_n); the error is that of a ratio of sums (Cochran 1977,
    Sampling Techniques, eq. 2.39). ll_KN in nats, both results float64 [K]; an error over a single
    text is NaN.
    """
    bits_KN = -np.asarray(ll_KN, np.float64) / np.log(2)
    bytes_N = np.asarray(bytes_N, np.float64)
    ratio_K = bits_KN.sum(1) / bytes_N.sum()
    left_KN = bits_KN - ratio_K[:, None] * bytes_N
    n = len(bytes_N)
    variance_K = (left_KN**2).sum(1) / (n - 1) if n > 1 else np.full(len(ratio_K), np.nan)
    return ratio_K, np.sqrt(variance_K / n) / bytes_N.mean()
