"""From numbers per token to means, quantiles and their standard errors. Texts are the sample."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    value: float
    standard_error: float


def mean_per_token(sum_N: np.ndarray, tokens_N: np.ndarray) -> Estimate:
    """The mean over all tokens of all texts, with its standard error over texts.

    Tokens of one text are not independent, so the texts are the sample: the mean is a ratio of two
    sums over texts, and its error that of the ratio estimator (Cochran, Sampling Techniques, 1977,
    section 6.3): sqrt(N / (N - 1) sum_n (s_n - r t_n)^2) / sum_n t_n.

    Args:
      sum_N: the sum over each text's tokens.
      tokens_N: how many they are.
    """
    N, total = len(sum_N), float(tokens_N.sum())
    if not total:
        return Estimate(math.nan, math.nan)
    ratio = float(sum_N.sum() / total)
    if N < 2:
        return Estimate(ratio, math.nan)
    residual_N = sum_N - ratio * tokens_N
    return Estimate(ratio, math.sqrt(N / (N - 1) * float(residual_N @ residual_N)) / total)


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """Nats over so many bytes of text, in bits per byte."""
    return nats / (num_bytes * math.log(2)) if num_bytes else math.nan


def rounded(value: float, standard_error: float = math.nan) -> str:
    """A number for people: three significant digits, with its error where there is one."""
    if math.isnan(value):
        return "-"
    text = f"{value:.3g}"
    return text if math.isnan(standard_error) else f"{text} ± {standard_error:.1g}"
