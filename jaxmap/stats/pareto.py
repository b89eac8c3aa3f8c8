"""Which points no other point beats in both coordinates."""

from __future__ import annotations

import numpy as np


def pareto_front(x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """Indices of the points than which none is smaller in one coordinate and not larger in the
    other, in the order of x; int64. Of equal points the first.

    Args:
      x_P, y_P: coordinates, of which less is better.
    """
    order_P = np.lexsort((y_P, x_P))  # by x, of equal x by y
    front: list[int] = []
    for p in order_P.tolist():
        if not front or y_P[p] < y_P[front[-1]]:
            front.append(p)
    return np.array(front, np.int64)
