"""Learning curves: bits per byte of training runs, at the first, last and middle checkpoints."""

from __future__ import annotations

import numpy as np

from jaxmap.analysis.runs import Run
from jaxmap.figures.captions import RAW
from jaxmap.figures.digits import with_error
from jaxmap.figures.style import time_tick
from jaxmap.reports.section import Picture, Section, csv_link, table
from jaxmap.reports.view import View

TITLE = "What was learnt"


def section(view: View) -> Section | None:
    """What the first and the last checkpoint of each run cost, in bits per byte."""
    if not view.learning.curves:
        return None
    rows, unit = [], view.learning.curves[0].run.unit
    for curve in view.learning.curves:
        first, last = curve.there[[0, -1]]
        rows.append(
            (
                curve.name,
                with_error(curve.bits_I[first], curve.error_I[first]),
                with_error(curve.bits_I[last], curve.error_I[last]),
                f"{time_tick(curve.step_I[first], unit)} to {time_tick(curve.step_I[last], unit)}",
                f"{len(curve.there)}",
                _parameters(curve.run),
            )
        )
    heads = ("run", "first", "last", f"{unit}s", "checkpoints", "parameters")
    html = (
        "<p>Bits that a byte of the texts costs the first and the last checkpoint of each run "
        f"(± one standard error over texts). {RAW}</p>" + table(heads, rows, download=_file(view))
    )
    caption = (
        "Bits that each checkpoint needs for a byte of the texts: the lower, the better it "
        "predicts them. Raw text takes 8. A band is one standard error, with the texts as "
        "the sample. The time axis is logarithmic, so that the first checkpoints "
        f"do not fall on one another. {RAW} Bad checkpoints are left out, as below."
    )
    drawn = view.learning.draw().items()
    return Section(TITLE, html, tuple(Picture(name, TITLE, one, caption) for name, one in drawn))


def _file(view: View) -> str:
    frame = view.learning.to_dataframe()
    rows = list(frame.itertuples(index=False, name=None))
    return csv_link("learning", list(frame.columns), rows)


def _parameters(run: Run) -> str:
    """As recorded, or about what the name says."""
    if any(e and e.provenance.model.get("num_parameters") for e in run.entries):
        return f"{run.parameters:,.0f}"
    return f"≈ {run.facts.size_word.upper()}" if np.isfinite(run.parameters) else "–"
