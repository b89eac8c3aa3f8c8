"""The KL heat map of the page: all models and the last checkpoint of each run, clustered."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from jaxmap.analysis.nearest_models import NearestModels
from jaxmap.figures.captions import RAW

MOST = 2000  # models; 2,000 take 5 MB of the page
CODES = 65535  # steps of the logarithm that a KL is rounded to, 16 bits
DIGITS = 5


def heat(found: NearestModels, names: Sequence[str]) -> dict[str, Any] | None:
    """The models of the store, in the order of a tree.

    labels [K]; kl: the pairs above the diagonal, row by row, as 16-bit numbers in base64
    (`encode`), with `low` and `high`; tree: the lines of the dendrogram. None for fewer than three.
    """
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    if len(names) < 3:
        return None
    kl_KK = found.kl_KK[:MOST, :MOST]
    roots = squareform(np.sqrt(kl_KK), checks=False)
    with deep_trees(len(kl_KK)):
        drawn = dendrogram(linkage(roots, "average", optimal_ordering=True), no_plot=True)
    order = drawn["leaves"]
    line_x: list[float | None] = []
    line_y: list[float | None] = []
    for corner_x, corner_y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        line_x += [*((float(x) - 5) / 10 for x in corner_x), None]
        line_y += [*(float(f"{y:.{DIGITS}g}") for y in corner_y), None]
    upper_P = kl_KK[np.ix_(order, order)][np.triu_indices(len(kl_KK), k=1)]
    return {
        "labels": [names[k] for k in order],
        **encode(upper_P),
        "tree": {"x": line_x, "y": line_y, "top": max(y or 0.0 for y in line_y) or 1.0},
        "left_out": len(names) - len(kl_KK),
    }


@contextlib.contextmanager
def deep_trees(leaves: int) -> Iterator[None]:
    """Lets SciPy walk a tree as deep as it has leaves: it does so by recursion."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 2 * leaves + 1000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def encode(kl_P: np.ndarray) -> dict[str, Any]:
    """KLs as 16-bit numbers, little endian, in base64: 0 is zero, else 1 + the place of log10 KL
    between `low` and `high` in 65,534 steps (1 part in 3,500 over eight decades)."""
    logs_P = np.log10(kl_P, out=np.full(len(kl_P), np.nan), where=kl_P > 0)
    known = logs_P[np.isfinite(logs_P)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (-1.0, 0.0)
    place_P = np.nan_to_num((logs_P - low) / ((high - low) or 1.0))
    codes_P = np.where(kl_P > 0, 1 + np.round(place_P * (CODES - 1)), 0).astype("<u2")
    text = base64.b64encode(codes_P.tobytes()).decode("ascii")
    return {"kl": text, "low": low, "high": high}


def words(drawn: dict[str, Any]) -> str:
    """What is under the heat map."""
    said = (
        "The last checkpoint of each run, models and copies, ordered by hierarchical clustering "
        "(average linkage of √KL); hover or tap for names and the KL, draw a box to zoom. " + RAW
    )
    if drawn["left_out"]:
        said += f" {drawn['left_out']:,} of them are not shown: at most {MOST:,} are."
    return escape(said)
