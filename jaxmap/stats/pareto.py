"""The Pareto front: the points that no other point beats in both coordinates."""

from __future__ import annotations

import numpy as np


def pareto_front(x_P: np.ndarray, y_P: np.ndarray) -> np.ndarray:
    """The indices of the points on the Pareto front, in the order of x, int64.

    A point is on the front if no other point is smaller in one coordinate and not larger in the
    other; of equal points, the first counts.

    Args:
      x_P, y_P: coordinates; smaller is better.
    """
    order_P = np.lexsort((y_P, x_P))  # by x, then by y
    front: list[int] = []
    for p in order_P.tolist():
        if not front or y_P[p] < y_P[front[-1]]:
            front.append(p)
    return np.array(front, np.int64)
