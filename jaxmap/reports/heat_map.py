"""The KL heat map of the page: all models and the last checkpoint of each run, clustered."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.last_checkpoints import last_checkpoints
from jaxmap.reports.model_names import shown_names
from jaxmap.reports.section import percent
from jaxmap.stats.clean import FLOOR, clean_map
from jaxmap.stats.divergence import kl_KK

MOST = 2000  # models; 2,000 take 5 MB of the page
CODES = 65535  # steps of the logarithm that a KL is rounded to, 16 bits
DIGITS = 5


def heat(context: Context) -> dict[str, Any] | None:
    """Last checkpoints of runs and models that are no checkpoints, in the order of a tree.

    labels [K]; kl: the pairs above the diagonal, row by row, as 16-bit numbers in base64
    (`encode`), with `low` and `high`; tree: the lines of the dendrogram. None for fewer than three.
    """
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    last = last_checkpoints(context)
    singles = context.singles
    chosen = [*(entry for _, entry in last), *singles]
    names = [*(run.name for run, _ in last), *shown_names(singles)]
    if len(chosen) < 3:
        return None
    shown = chosen[:MOST]
    cleaned = clean_map(context.vectors(shown), [entry.label for entry in shown])
    kl = kl_KK(cleaned.ll_KN, context.mean_bytes, errors=False).kl
    roots = squareform(np.sqrt(kl), checks=False)
    drawn = dendrogram(linkage(roots, "average", optimal_ordering=True), no_plot=True)
    order = drawn["leaves"]
    line_x: list[float | None] = []
    line_y: list[float | None] = []
    for corner_x, corner_y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        line_x += [*((float(x) - 5) / 10 for x in corner_x), None]
        line_y += [*(float(f"{y:.{DIGITS}g}") for y in corner_y), None]
    upper_P = kl[np.ix_(order, order)][np.triu_indices(len(kl), k=1)]
    return {
        "labels": [names[cleaned.rows[k]] for k in order],
        **encode(upper_P),
        "tree": {"x": line_x, "y": line_y, "top": max(y or 0.0 for y in line_y) or 1.0},
        "left_out": len(chosen) - len(shown),
    }


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
        "The last checkpoint of each run, and each model that is no checkpoint, ordered by "
        "hierarchical clustering (average linkage of √KL); hover or tap for names and the KL, "
        "draw a box to zoom. Scores: cleaned, whatever the recipe of the other figures: clipped "
        f"from below at the {percent(FLOOR)} quantile of all that are shown."
    )
    if drawn["left_out"]:
        said += f" {drawn['left_out']:,} of them are not shown: at most {MOST:,} are."
    return escape(said)
