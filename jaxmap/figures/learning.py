"""Learning curves: the bits per byte of each checkpoint against training time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxmap.figures import captions, lines, style
from jaxmap.figures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.analysis.learning import Learning


def draw(learning: Learning, width: float = 7.2) -> Figure | None:
    """Draws bits per byte against training time on a logarithmic axis, with one standard error.

    Returns None without runs. `width` is in inches.
    """
    runs = learning.curves
    if not runs:
        return None
    styles = lines.run_styles((run.name for run in runs), learning.run_names)
    with style.look():
        figure = new_figure(width, 3.8)
        axes = figure.subplots()
        for run in runs:
            lines.draw_line(
                axes, run.step_I, run.bits_I, styles[run.name], error_I=run.error_I, label=run.name
            )
        unit = runs[0].run.unit
        last = max(int(run.step_I[-1]) for run in runs)
        first = 0 if unit == "step" else min(int(run.step_I[0]) for run in runs)
        style.log_time_axis(axes, unit, first, last)
        axes.set_ylabel("bits per byte of text (lower is better)")
        lines.run_legend(figure, styles)
        captions.write_above(figure, captions.RAW)
    return figure
