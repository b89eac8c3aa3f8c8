"""Slopes of linear position biases (Press et al. 2021, arXiv:2108.12409, section 3)."""

from __future__ import annotations

import math

import numpy as np

from jaxmap.model.attention_facts import Alibi


def slopes(heads: int, *, rounded: bool = False) -> Alibi:
    """The slopes 2^(-8i/n), i = 1..n, of n heads if n is a power of two.

    For another number of heads, the slopes of the largest power of two below it come first, then
    every second slope of the next power of two.
    """
    n = 2 ** math.ceil(math.log2(heads))
    every = [float(np.float32(2.0 ** (-8 * i / n))) for i in range(1, n + 1)]
    return Alibi(tuple(every if n == heads else (every[1::2] + every[::2])[:heads]), rounded)
