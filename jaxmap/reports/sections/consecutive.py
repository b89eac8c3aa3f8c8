"""How far each interval of training moves a model: figure 4."""

from __future__ import annotations

from jaxmap.analysis.consecutive import Consecutive
from jaxmap.figures.captions import scores_are
from jaxmap.reports.section import Picture, Section, csv_link
from jaxmap.reports.view import View

TITLE = "How far each interval of training moves a model"


def _file(steps: Consecutive) -> str:
    frame = steps.to_dataframe()
    return csv_link(
        "consecutive", list(frame.columns), list(frame.itertuples(index=False, name=None))
    )


def section(view: View) -> Section | None:
    """KL between neighbouring checkpoints; None without runs."""
    steps = view.atlas.consecutive
    if steps is None or not view.learning.curves:
        return None
    until = "" if steps.warmup_steps is None else f" (up to step {steps.warmup_steps:,})"
    caption = (
        "KL divergence between each saved checkpoint and the one before it, drawn at the time "
        "where the interval ends. A high point is an interval in which the model's "
        f"predictions changed much. During warmup{until}, where "
        "checkpoints lie at powers of two, intervals double in length, so a rising line is not by "
        "itself a faster change. After it checkpoints are evenly spaced, and heights compare "
        "directly. Bands are one standard error. "
        + scores_are(steps.recipe, steps.group, True)
        + " What was left out is said below. An interval with KL exactly 0 (a first update at "
        "learning rate 0) cannot be shown on a logarithmic axis and is left out."
    )
    drawn = steps.draw().items()
    return Section(
        TITLE, _file(steps), tuple(Picture(name, TITLE, one, caption) for name, one in drawn)
    )
