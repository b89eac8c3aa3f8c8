"""The growth of distance with training time, and its exponent: Kishino et al. 2026, fig. 5."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.figures import style
from jaxmap.figures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.diffusion import Diffusion
    from jaxmap.analysis.trajectories import ExponentCurve

DASHED = (0, (4, 1.5))
MANY = 8  # lines from which all are thinner


def draw(diffusion: Diffusion, width: float = 7.2) -> Figure | None:
    """Draws distances and exponents; log-likelihoods are solid lines, weights dashed.

    On the left is the distance from one start against the lag, with logarithmic axes and a guide of
    slope 1; on the right the exponent against the start. A checkpoint that was left out is a gap. A
    side without points is left out; without any, the result is None. `width` is in inches.
    """
    from matplotlib.lines import Line2D

    curves, window, start = diffusion.exponents, diffusion.window, diffusion.shown_start
    parts = []
    if any(len(_from_start(one, start, window)[0]) for one in curves):
        parts.append("distance")
    if any(np.isfinite(one.exponent).any() for one in curves):
        parts.append("exponent")
    if not parts:
        return None
    styles = style.run_styles(dict.fromkeys(one.trajectory.run for one in curves))
    with style.look():
        figure = new_figure(width, 4.0)
        panels = dict(zip(parts, figure.subplots(1, len(parts), squeeze=False)[0], strict=True))
        if left := panels.get("distance"):
            _draw_distances(left, curves, start, window, styles)
        if right := panels.get("exponent"):
            _draw_exponents(right, curves, styles)
        kinds = [Line2D([], [], color=style.INK, lw=1.2, label="log-likelihoods")]
        if any(one.trajectory.space == "weight" for one in curves):
            kinds.append(Line2D([], [], color=style.INK, lw=1.0, ls=DASHED, label="weights"))
        solid = {name: dataclasses.replace(one, dashes="-") for name, one in styles.items()}
        style.run_legend(figure, solid, kinds)
    return figure


def _draw_distances(
    left: Axes,
    curves: Sequence[ExponentCurve],
    start: int,
    window: int,
    styles: dict[str, style.LineStyle],
) -> None:
    """Draws the distance from the start by lag; weights have an axis of their own on the right."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shown = [(one, *_from_start(one, start, window)) for one in curves]
    heights: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"log_likelihood": [], "weight": []}
    for one, lag_J, distance_J in shown:
        if len(lag_J):
            heights[one.trajectory.space].append((lag_J, distance_J))
    twin = left.twinx() if heights["weight"] else None
    for one, lag_J, distance_J in shown:
        axes = twin if one.trajectory.space == "weight" and twin is not None else left
        axes.plot(lag_J, distance_J, marker="o", markersize=2.0, **_line(one, styles, len(curves)))
    left.set_xscale("log")
    if heights["log_likelihood"]:
        left.set_yscale("log")
        lags, distances = map(np.concatenate, zip(*heights["log_likelihood"], strict=True))
        known = np.isfinite(distances)
        ends = np.array([lags[known].min(), lags[known].max()], float)
        guide = distances[known].min() * 0.8 * ends / ends[0]
        left.plot(ends, guide, color=style.INK, linewidth=1.0, linestyle=(0, (1, 1.5)))
        left.annotate(
            "$c = 1$", (ends[0], guide[0]), xytext=(8, 2), textcoords="offset points",
            ha="left", va="center", fontsize=8,
        )  # fmt: skip
        style.plain_log_axis(left)
    left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    unit = curves[0].trajectory.unit
    left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: style.time_tick(x, unit)))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_title(f"From {'step ' if unit == 'step' else ''}{style.time_tick(start, unit)}"
                   f"{' tokens' if unit == 'token' else ''}")  # fmt: skip
    left.set_xlabel(f"lag $t - t_0$ (training {unit}s)")
    left.set_ylabel("KL (bits per byte)")
    if twin is None:
        return
    twin.set_yscale("log")
    if heights["log_likelihood"]:
        _same_span(left, twin)
    twin.set_ylabel("squared distance of weights")
    twin.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    twin.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    twin.yaxis.set_minor_formatter(NullFormatter())
    twin.spines["right"].set_visible(True)
    twin.grid(visible=False)


def _draw_exponents(
    right: Axes, curves: Sequence[ExponentCurve], styles: dict[str, style.LineStyle]
) -> None:
    for one in curves:
        right.plot(one.starts, one.exponent, **_line(one, styles, len(curves)))
    right.axhline(1.0, color=style.FAINT, linewidth=0.9)
    unit = curves[0].trajectory.unit
    right.set_xlabel(f"start $t_0$ ({style.time_label(unit)})")
    right.set_ylabel("diffusion exponent $c$")
    right.set_title("Exponent at each start")
    right.annotate(
        "Brownian", (1, 1.0), xycoords=("axes fraction", "data"), xytext=(3, 0),
        textcoords="offset points", ha="left", va="center", fontsize=8, rotation=90,
    )  # fmt: skip
    right.xaxis.set_major_formatter(lambda x, _: _short(x, unit))


def _short(time: float, unit: str) -> str:
    """A place on a crowded axis: 120k steps."""
    if unit == "token":
        return style.time_tick(time, unit)
    return f"{time:g}" if abs(time) < 1000 else f"{time / 1000:g}k"


def _line(one: ExponentCurve, styles: dict[str, style.LineStyle], lines: int) -> dict[str, Any]:
    """The style of a run's line."""
    look = styles[one.trajectory.run]
    is_weight = one.trajectory.space == "weight"
    thin = (0.8 if is_weight else 1.0) * (1.0 if lines <= MANY else 0.6)
    return dict(
        color=look.color,
        alpha=look.alpha,
        linewidth=look.width * thin,
        linestyle=DASHED if is_weight else "-",
    )


def _from_start(one: ExponentCurve, start: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The lags of checkpoints after a start and their distances, if these are above zero.

    A checkpoint that was left out in between is NaN, a gap in the line.
    """
    steps_I = one.trajectory.steps
    place = np.flatnonzero(steps_I == start)
    if not len(place):
        return np.empty(0), np.empty(0)
    after = slice(place[0] + 1, place[0] + 1 + window)
    distance_J = one.trajectory.distance[place[0], after]
    distance_J = np.where(distance_J > 0, distance_J, np.nan)
    if not np.isfinite(distance_J).any():
        return np.empty(0), np.empty(0)
    return steps_I[after] - start, distance_J


def _same_span(left: Axes, twin: Axes) -> None:
    """Gives both logarithmic axes as many decades, so that slopes compare."""
    spans = [np.log(axes.get_ylim()) for axes in (left, twin)]
    most = max(high - low for low, high in spans)
    for axes, (low, high) in zip((left, twin), spans, strict=True):
        axes.set_ylim(
            np.exp(low - (most - (high - low)) / 2), np.exp(high + (most - (high - low)) / 2)
        )
