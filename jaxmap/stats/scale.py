"""Summaries of distributions of KL divergences, and the random pairs to compare with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Summary(NamedTuple):
    """A summary of n values; quartiles are interpolated linearly. All are NaN if n is 0.

    standard_error is that of the median with the texts as the sample: its spread over resamples of
    the texts, which are the same for all pairs.
    """

    median: float
    mean: float
    q25: float
    q75: float
    n: int
    standard_error: float


def summarise(kl_P: np.ndarray, draws_PR: np.ndarray) -> Summary:
    """The summary of the KL of P pairs; draws_PR has their KL under R resamples of the texts."""
    if not len(kl_P):
        nan = float("nan")
        return Summary(nan, nan, nan, nan, 0, nan)
    q25, median, q75 = np.quantile(kl_P, (0.25, 0.5, 0.75))
    medians_R = np.median(draws_PR, axis=0)
    error = float(medians_R.std(ddof=1)) if len(medians_R) > 1 else float("nan")
    return Summary(float(median), float(np.mean(kl_P)), float(q25), float(q75), len(kl_P), error)


def random_pairs(num_models: int, count: int, seed: int = 0) -> np.ndarray:
    """`count` different unordered pairs i < j, int64 [P, 2], or all of them if there are fewer.

    Drawn without replacement by numpy.random.default_rng(seed).choice over the pairs in the order
    (0, 1), (0, 2), ..., (1, 2), ...
    """
    total = num_models * (num_models - 1) // 2
    count = min(count, total)
    if not count:
        return np.empty((0, 2), np.int64)
    number_P = np.random.default_rng(seed).choice(total, size=count, replace=False)
    upper_P2 = np.stack(np.triu_indices(num_models, k=1), axis=1)
    return upper_P2[number_P]


def published_pairs(
    families: Sequence[Sequence[tuple[int, int]]], seed: int = 0
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The pairs that the authors of arXiv 2505.15353 drew within types, and over all types.

    `families` are the (child, parent) row numbers of each type, with types in the order of their
    first child. For each type, as many pairs as it has children are drawn from its distinct rows,
    with the generator seeded anew; types with one row are left out. Then, with the same generator,
    as many pairs as there are children of all types are drawn from the rows of these types. Rows
    are in the order of Python's set of ints, which depends on the order of insertion. A pair can be
    drawn more than once.
    """
    generator = random.Random()
    within: list[tuple[int, int]] = []
    pool: list[int] = []
    for family in families:
        rows = list({row for edge in family for row in edge})
        if len(rows) < 2:
            continue
        pool += rows
        generator.seed(seed)
        within += [_sampled(generator, rows) for _ in family]
    every = list(set(pool))
    count = sum(map(len, families)) if every else 0
    return within, [_sampled(generator, every) for _ in range(count)]


def _sampled(generator: random.Random, rows: list[int]) -> tuple[int, int]:
    first, second = generator.sample(rows, 2)
    return first, second
