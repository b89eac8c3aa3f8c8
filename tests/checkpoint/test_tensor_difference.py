"""The squared distance of two arrays, against extended precision."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from jaxmap.checkpoint.tensor_difference import squared_distances

KINDS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_distance_of_arrays(kind):
    """Of any size and mixed dtypes, near and far, against extended precision; zero is zero."""
    random = np.random.default_rng(0)
    for size in (0, 1, 17, 8192, 65536 + 8192 + 5, 2_200_000):
        new = random.normal(size=size).astype(kind)
        near = (new.astype(np.float64) * (1 + 2e-3 * random.normal(size=size))).astype(kind)
        other = random.normal(size=size).astype(KINDS[(KINDS.index(kind) + 1) % 4])
        found = squared_distances(new, [near, other, new])
        for value, old in zip(found, (near, other, new), strict=True):
            exact = ((new.astype(np.longdouble) - old.astype(np.longdouble)) ** 2).sum()
            assert value == pytest.approx(float(exact), rel=1e-12, abs=0)
        assert found[2] == 0.0


def test_threads_change_no_bit():
    from concurrent.futures import ThreadPoolExecutor

    random = np.random.default_rng(0)
    new, old = random.normal(size=(2, 3_000_001)).astype(np.float32)
    with ThreadPoolExecutor(3) as threads:
        assert squared_distances(new, [old], threads) == squared_distances(new, [old])


def test_shape_of_an_array_does_not_matter():
    a, b = np.random.default_rng(0).normal(size=(2, 30, 40))
    assert squared_distances(a, [b]) == squared_distances(a.ravel(), [b.ravel()])
    strided = squared_distances(a.T, [b.T])
    assert strided == pytest.approx(squared_distances(a, [b]), rel=1e-12)
