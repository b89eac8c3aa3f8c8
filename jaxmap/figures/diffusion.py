"""The growth of distance with training time, and its exponent: Kishino et al. 2026, fig. 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, lines, style
from jaxmap.figures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.diffusion import Diffusion
    from jaxmap.analysis.trajectories import ExponentCurve

SPACES = {  # and what the axes of their panels are called
    "log_likelihood": ("KL (bits per byte)", "exponent c of log-likelihoods"),
    "weight": ("squared distance of weights", "exponent c of weights"),
}


def draw(diffusion: Diffusion, width: float = 7.2) -> Figure | None:
    """Draws distances and exponents: log-likelihoods in the upper panels, weights in the lower.

    On the left is the distance from one start against the lag, with logarithmic axes and a dotted
    guide of slope 1; on the right the exponent at each start, with one standard error. A checkpoint
    that was left out is a gap. A panel without points is left out; without any, the result is None.
    `width` is in inches.
    """
    curves, window, start = diffusion.exponents, diffusion.window, diffusion.shown_start
    panels = [
        (space, part, own)
        for space in SPACES
        for part in ("distance", "exponent")
        if (own := [one for one in curves if _is_drawn(one, space, part, start, window)])
    ]
    if not panels:
        return None
    styles = lines.run_styles(
        dict.fromkeys(one.trajectory.run for *_, own in panels for one in own),
        diffusion.run_names,
    )
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with style.look():
        figure = new_figure(width, 3.1 * rows + 0.7)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (space, part, own) in zip(grid, panels, strict=False):
            if part == "distance":
                _draw_distances(axes, own, start, window, styles)
            else:
                _draw_exponents(axes, own, styles)
            axes.set_ylabel(SPACES[space][part == "exponent"])
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        lines.run_legend(figure, styles)
        sentence = captions.scores_are(diffusion.recipe, diffusion.group, cleaned=True)
        captions.write_above(figure, sentence)
    return figure


def _is_drawn(one: ExponentCurve, space: str, part: str, start: int, window: int) -> bool:
    """Whether a curve has points on the panel of this space and part."""
    if one.trajectory.space != space:
        return False
    if part == "exponent":
        return bool(np.isfinite(one.exponent).any())
    return len(_from_start(one, start, window)[0]) > 0


def _draw_distances(
    axes: Axes,
    curves: Sequence[ExponentCurve],
    start: int,
    window: int,
    styles: dict[str, lines.LineStyle],
) -> None:
    """Draws the distance from the start by lag, and a guide of slope 1 below all."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shown = [(one, *_from_start(one, start, window)) for one in curves]
    for one, lag_J, distance_J in shown:
        run = one.trajectory.run
        lines.draw_line(axes, lag_J, distance_J, styles[run], label=run, logarithmic=True)
    lag_A = np.concatenate([lag_J for _, lag_J, _ in shown])
    distance_A = np.concatenate([distance_J for *_, distance_J in shown])
    known = np.isfinite(distance_A)
    ends = np.array([lag_A[known].min(), lag_A[known].max()], float)
    guide = distance_A[known].min() * 0.8 * ends / ends[0]
    axes.set_xscale("log")
    style.plain_log_axis(axes)
    axes.plot(ends, guide, color=style.INK, linewidth=1.0, linestyle=(0, (1, 1.5)))
    axes.annotate(
        "c = 1", (ends[0], guide[0]), xytext=(8, -2), textcoords="offset points", ha="left",
        va="top", fontsize=8,
    )  # fmt: skip
    axes.margins(y=0.12)
    unit = curves[0].trajectory.unit
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: style.time_tick(x, unit)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"From {'step ' if unit == 'step' else ''}{style.time_tick(start, unit)}"
                   f"{' tokens' if unit == 'token' else ''}")  # fmt: skip
    axes.set_xlabel(f"lag t − t₀ (training {unit}s)")


def _draw_exponents(
    axes: Axes, curves: Sequence[ExponentCurve], styles: dict[str, lines.LineStyle]
) -> None:
    """Draws the exponent at each start, and a line at 1, which is Brownian motion."""
    for one in curves:
        run = one.trajectory.run
        lines.draw_line(axes, one.starts, one.exponent, styles[run], error_I=one.errors, label=run)
    axes.axhline(1.0, color=style.FAINT, linewidth=0.9)
    unit = curves[0].trajectory.unit
    axes.set_xlabel(f"start t₀ ({style.time_label(unit)})")
    axes.set_title("At each start")
    axes.annotate(
        "Brownian", (1, 1.0), xycoords=("axes fraction", "data"), xytext=(3, 0),
        textcoords="offset points", ha="left", va="center", fontsize=8, rotation=90,
    )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda x, _: _short(x, unit))


def _short(time: float, unit: str) -> str:
    """A time on a crowded axis: 120k steps."""
    if unit == "token":
        return style.time_tick(time, unit)
    return f"{time:g}" if abs(time) < 1000 else f"{time / 1000:g}k"


def _from_start(one: ExponentCurve, start: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The lags of checkpoints after a start and their distances, if these are above zero.

    A checkpoint that was left out in between is NaN, a gap in the line.
    """
    steps_I = one.trajectory.steps
    at = np.flatnonzero(steps_I == start)
    if not len(at):
        return np.empty(0), np.empty(0)
    after = slice(at[0] + 1, at[0] + 1 + window)
    distance_J = one.trajectory.distance[at[0], after]
    distance_J = np.where(distance_J > 0, distance_J, np.nan)
    if not np.isfinite(distance_J).any():
        return np.empty(0), np.empty(0)
    return steps_I[after] - start, distance_J
