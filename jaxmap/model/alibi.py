"""Slopes of linear position biases (Press et al. 2021, arXiv:2108.12409, section 3)."""

from __future__ import annotations

import math

import numpy as np

from jaxmap.model.spec import Alibi


def geometric(heads: int, *, rounded: bool = False) -> Alibi:
    """2^(-8 i/n) for i = 1..n, n the power of two below; then every other one of 2n's."""
    n = 2 ** math.floor(math.log2(heads))
    slopes = [*_powers(n, 8.0), *_powers(2 * n, 8.0)[::2][: heads - n]]
    return Alibi(tuple(slopes), rounded)


def interleaved(heads: int, bias_max: float) -> Alibi:
    """2^(-bias_max i/n) for i = 1..n, n the power of two above: first the even, then the odd i."""
    n = 2 ** math.ceil(math.log2(heads))
    slopes = _powers(n, bias_max)
    return Alibi(tuple(slopes if n == heads else (slopes[1::2] + slopes[::2])[:heads]))


def _powers(n: int, bias_max: float) -> list[float]:
    return [float(np.float32(2.0 ** (-bias_max * i / n))) for i in range(1, n + 1)]
