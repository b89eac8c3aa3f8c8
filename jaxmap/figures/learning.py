"""Learning curves: the bits per byte of each checkpoint against training time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxmap.figures import style
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
    styles = style.run_styles(run.name for run in runs)
    with style.look():
        figure = new_figure(width, 3.8)
        axes = figure.subplots()
        for run in runs:
            look = styles[run.name]
            axes.fill_between(
                run.step_I,
                run.bits_I - run.error_I,
                run.bits_I + run.error_I,
                color=look.color,
                alpha=0.15 * look.alpha,
                linewidth=0,
            )
            axes.plot(
                run.step_I,
                run.bits_I,
                color=look.color,
                linestyle=look.dashes,
                alpha=look.alpha,
                linewidth=look.width,
                marker="o",
                markersize=style.marker_size(look, len(run.step_I)),
                label=run.name,
            )
        unit = runs[0].run.unit
        last = max(int(run.step_I[-1]) for run in runs)
        first = 0 if unit == "step" else min(int(run.step_I[0]) for run in runs)
        style.log_time_axis(axes, unit, first, last)
        axes.set_ylabel("bits per byte of text (lower is better)")
        style.run_legend(figure, styles)
    return figure
