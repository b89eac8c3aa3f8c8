"""The dynamics of training runs: speed, turns, curvature, distance to the end and between seeds."""

from __future__ import annotations

import numpy as np

from jaxmap.analysis.dynamics import COLUMNS, Series
from jaxmap.figures.captions import scores_are
from jaxmap.figures.digits import with_error
from jaxmap.figures.style import time_tick
from jaxmap.reports.section import Picture, Section, csv_link, table
from jaxmap.reports.view import View

TITLE = "Dynamics of training"
NAMES = {
    "speed": "speed, √(bits per byte) a {unit}",
    "turn": "cosine of turns",
    "curvature": "curvature, 1 / √(bits per byte)",
    "kl_to_final": "KL to the last checkpoint",
    "kl_between_seeds": "KL between seeds, mean",
    "exponent": "diffusion exponent",
    "exponent_weight": "diffusion exponent of weights",
    "exponent_difference": "weights' exponent less that of scores",
}
MOST_RUNS = 12


def section(view: View) -> Section | None:
    """First and last value of each measure and run, and a figure; None without runs."""
    found = view.dynamics
    if found is None or not found.series or not view.learning.curves:
        return None
    runs = list(dict.fromkeys(one.run for one in found.series))[:MOST_RUNS]
    rows = [row for one in found.series if one.run in runs and (row := _row(one))]
    one = view.atlas.find("trajectories")
    group = "all runs" if one is None else one.group
    frame = found.to_dataframe()
    html = (
        "<p>Paths of checkpoints in the space where squared distance is KL. Speed is distance over "
        "training time; the cosine of a turn is 1 where a path goes straight on, 0 in a random "
        "walk and −1 where it turns back; curvature is that of the circle through three "
        "checkpoints. "
        + scores_are(view.context.recipe, group, True)
        + "</p><details><summary>The first and the last value of each measure, ± one standard "
        + "error over texts</summary>"
        + table(("measure", "run", "first", "at", "last", "at"), rows, 2)
        + "</details>"
        + csv_link("dynamics", COLUMNS, list(frame.itertuples(index=False, name=None)))
    )
    caption = (
        "Each measure against training time; bands are one standard error. A line marks the value "
        "of a random walk: 0 for turns, 1 for exponents. "
        + scores_are(view.context.recipe, group, True)
    )
    drawn = found.draw().items()
    return Section(TITLE, html, tuple(Picture(name, TITLE, one, caption) for name, one in drawn))


def _row(one: Series) -> tuple[str, ...] | None:
    there = np.flatnonzero(np.isfinite(one.values))
    if not len(there) or one.domain:
        return None
    ends = [
        text
        for i in there[[0, -1]]
        for text in (
            with_error(float(one.values[i]), float(one.errors[i])),
            time_tick(one.times[i], one.unit),
        )
    ]
    return (NAMES[one.measure].format(unit=one.unit), one.run, *ends)
