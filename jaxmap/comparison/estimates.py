"""Means and quantiles of numbers per token, with standard errors over texts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A number and its standard error, both in the number's unit."""

    value: float
    standard_error: float


def mean_per_token(sum_N: np.ndarray, tokens_N: np.ndarray) -> Estimate:
    """The mean over all tokens of all texts, with its standard error over texts; see `ratio`.

    Args:
      sum_N: the sum over each text's tokens.
      tokens_N: how many they are.
    """
    return ratio(sum_N, tokens_N)


def ratio(sum_N: np.ndarray, weight_N: np.ndarray) -> Estimate:
    """One sum over texts divided by another, with its standard error.

    Tokens of one text are not independent, so the texts are the sample, and the error is that of
    the ratio estimator (Cochran, Sampling Techniques, 1977, section 6.3):
    sqrt(N / (N - 1) sum_n (s_n - r w_n)^2) / sum_n w_n.
    """
    N, total = len(sum_N), float(weight_N.sum())
    if not total:
        return Estimate(math.nan, math.nan)
    value = float(sum_N.sum() / total)
    if N < 2:
        return Estimate(value, math.nan)
    residual_N = sum_N - value * weight_N
    return Estimate(value, math.sqrt(N / (N - 1) * float(residual_N @ residual_N)) / total)


def quantile(value_M: np.ndarray, text_M: np.ndarray, N: int, share: float) -> Estimate:
    """A quantile over tokens, with its standard error over texts.

    The error is half the distance of the quantiles at share - e and share + e, where e is the error
    over texts of the share of tokens that are not above the quantile (Woodruff 1952, J. Am. Stat.
    Assoc. 47:635).

    Args:
      value_M: of each token.
      text_M: the text that it is of, 0 to N - 1.
      share: 0 to 1.
    """
    if not len(value_M):
        return Estimate(math.nan, math.nan)
    value = float(np.quantile(value_M.astype(np.float64), share))
    below_N = np.bincount(text_M[value_M <= value], minlength=N).astype(np.float64)
    error = ratio(below_N, np.bincount(text_M, minlength=N).astype(np.float64)).standard_error
    if math.isnan(error):
        return Estimate(value, math.nan)
    ends = np.clip([share - error, share + error], 0, 1)
    low, high = np.quantile(value_M.astype(np.float64), ends)
    return Estimate(value, float(high - low) / 2)


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """Nats over so many bytes of text, in bits per byte."""
    return nats / (num_bytes * math.log(2)) if num_bytes else math.nan


def percent(share: float) -> str:
    """A share for people, a dash if there is none."""
    return "–" if math.isnan(share) else f"{share:.1%}"
