"""The squared norm of the difference of arrays, in float64 whatever their dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_SUM = 1 << 13  # numbers per dot product
_BLOCK = 8 * _SUM  # numbers converted to float64 at a time, which fit into a core's cache
_TASK = 16 * _BLOCK  # numbers per task of a thread


def squared_distances(
    new: np.ndarray, olds: Sequence[np.ndarray], threads: ThreadPoolExecutor | None = None
) -> list[float]:
    """The squared norm of `new` minus each of `olds`, arrays of one shape and any float dtypes.

    Differences and products are float64. Dot products sum 8,192 products each, with a relative
    error below 1e-12, since all are positive. The dot products are summed exactly, so that the
    result does not depend on the number of threads.
    """
    if not olds:
        return []
    flat, flats = new.reshape(-1), [old.reshape(-1) for old in olds]
    starts = range(0, max(flat.size, 1), _TASK)

    def part(start: int) -> list[list[float]]:
        sums: list[list[float]] = [[] for _ in flats]
        new_64, buffer = np.empty(_BLOCK), np.empty(_BLOCK)
        for at in range(start, min(start + _TASK, flat.size), _BLOCK):
            block = slice(at, min(at + _BLOCK, flat.size))
            size = block.stop - at
            new_64[:size] = flat[block]
            for old, into in zip(flats, sums, strict=True):
                difference = buffer[:size]
                difference[...] = old[block]
                # Weights that are not finite are refused when they are loaded.
                with np.errstate(all="ignore"):
                    np.subtract(new_64[:size], difference, out=difference)
                    rows = difference[: size - size % _SUM].reshape(-1, _SUM)
                    rest = difference[rows.size :]
                    into += [*np.vecdot(rows, rows).tolist(), float(rest @ rest)]
        return sums

    run = map if threads is None or len(starts) == 1 else threads.map
    parts = list(run(part, starts))
    return [math.fsum(value for sums in parts for value in sums[k]) for k in range(len(olds))]
