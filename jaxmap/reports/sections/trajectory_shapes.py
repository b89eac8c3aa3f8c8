"""The shapes of training paths."""

from __future__ import annotations

from jaxmap.analysis.run_pairs import GROUP
from jaxmap.analysis.trajectory_shapes import COLUMNS
from jaxmap.figures.captions import scores_are
from jaxmap.figures.style import time_tick
from jaxmap.reports.section import Section, csv_link, table
from jaxmap.reports.view import View

FORMS = (".2f", ".2f", ".2f", ".2f", ".3f")  # of length to p


def _group(view: View) -> str:
    one = view.atlas.find("trajectories")
    return GROUP if one is None else one.group


def section(view: View) -> Section | None:
    """Length, straightness and turns of each run; None without runs."""
    if not view.atlas.paths:
        return None
    runs = view.atlas.pretraining
    unit = runs.runs[0].unit if runs else "step"
    rows = [
        (
            one.run,
            time_tick(one.from_step, unit),
            *(
                "–" if value is None else format(value, form)
                for value, form in zip(one.numbers[: len(FORMS)], FORMS, strict=True)
            ),
        )
        for one in view.atlas.paths
    ]
    heads = ("run", f"from {unit}", "length", "net", "straightness", "turns", "p")
    return Section(
        "Shapes of training paths",
        "<p>Length and net displacement in √(bits/byte); "
        "straightness is their ratio. Turns: how often a run goes around its own mean in its "
        "leading principal plane; p: how often a Brownian path with steps of the same sizes winds "
        "at least as far, in the same projection. Only a small p is a spiral. "
        + scores_are(view.atlas.recipe, _group(view), True)
        + "</p>"
        + table(
            heads,
            rows,
            download=csv_link("path_statistics", COLUMNS, [one.row() for one in view.atlas.paths]),
        ),
    )
