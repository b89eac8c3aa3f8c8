"""How distance grows with training time, and its exponent: Kishino et al. 2026, fig. 5."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.trajectories import Diffusion

PUBLISHED_START = 120_000
DASHED = (0, (4, 1.5))
MANY = 8  # lines from which all are thinner


def draw(
    diffusion: Sequence[Diffusion],
    window: int = 10,
    show_start: int | None = None,
    width: float = 7.2,
) -> Figure:
    """Left: distance from one start against lag, both axes logarithmic, with a guide of slope 1.
    Right: the exponent against the start. Log-likelihoods are solid, weights dashed.

    show_start is the left panel's start; None: step 120,000, or where runs are shorter the last
    start before five sixths of the run. A checkpoint that was left out is a gap.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(one.trajectory.run for one in diffusion))
    styles = style.run_styles(names)
    few = len(diffusion) <= MANY
    has_weights = any(one.trajectory.space == "weight" for one in diffusion)
    with style.look():
        figure = Figure(figsize=(width, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        twin = left.twinx() if has_weights else None
        start = _start(diffusion, show_start)
        for one in diffusion:
            look = styles[one.trajectory.run]
            is_weight = one.trajectory.space == "weight"
            axes = twin if is_weight and twin is not None else left
            lag_J, distance_J = _from_start(one, start, window)
            options = dict(
                color=look.color,
                alpha=look.alpha,
                linewidth=look.width * (0.8 if is_weight else 1.0) * (1.0 if few else 0.6),
                linestyle=DASHED if is_weight else "-",
            )
            axes.plot(lag_J, distance_J, marker="o", markersize=2.0, **options)
            right.plot(one.starts, one.exponent, **options)
        _finish_left(left, twin, diffusion, start, window)
        right.axhline(1.0, color=style.FAINT, linewidth=0.9)
        right.set_xlabel("start $t_0$ (training step)")
        right.set_ylabel("diffusion exponent $c$")
        right.set_title("Exponent at each start")
        right.annotate(
            "Brownian", (1, 1.0), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", ha="left", va="center", fontsize=8, rotation=90,
        )  # fmt: skip
        right.xaxis.set_major_formatter(
            lambda x, _: f"{x:g}" if abs(x) < 1000 else f"{x / 1000:g}k"
        )
        kinds = [Line2D([], [], color=style.INK, lw=1.2, label="log-likelihoods")]
        if has_weights:
            kinds.append(Line2D([], [], color=style.INK, lw=1.0, ls=DASHED, label="weights"))
        solid = {name: dataclasses.replace(one, dashes="-") for name, one in styles.items()}
        style.run_legend(figure, solid, kinds)
    return figure


def _start(diffusion: Sequence[Diffusion], asked: int | None) -> int:
    starts = sorted({int(start) for one in diffusion for start in one.starts})
    if asked is not None or PUBLISHED_START in starts or not starts:
        return PUBLISHED_START if asked is None else asked
    last = max(int(one.trajectory.steps[-1]) for one in diffusion)
    return max([start for start in starts if start <= last * 5 / 6] or starts[:1])


def _from_start(one: Diffusion, start: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    steps_I = one.trajectory.steps
    place = np.flatnonzero(steps_I == start)
    if not len(place):
        return np.empty(0), np.empty(0)
    after = slice(place[0] + 1, place[0] + 1 + window)
    distance_J = one.trajectory.distance[place[0], after]
    return steps_I[after] - start, np.where(distance_J > 0, distance_J, np.nan)


def _finish_left(
    left: Axes, twin: Axes | None, diffusion: Sequence[Diffusion], start: int, window: int
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    found = [
        _from_start(one, start, window)
        for one in diffusion
        if one.trajectory.space == "log_likelihood"
    ]
    lags = np.concatenate([lag_J[np.isfinite(d_J)] for lag_J, d_J in found])
    heights = np.concatenate([d_J[np.isfinite(d_J)] for _, d_J in found])
    left.set_xscale("log")
    left.set_yscale("log")
    if len(lags):
        ends = np.array([lags.min(), lags.max()], float)
        guide = np.nanmin(heights) * 0.8 * ends / ends[0]
        left.plot(ends, guide, color=style.INK, linewidth=1.0, linestyle=(0, (1, 1.5)))
        left.annotate(
            "$c = 1$", (ends[0], guide[0]), xytext=(8, 2), textcoords="offset points",
            ha="left", va="center", fontsize=8,
        )  # fmt: skip
        style.plain_log_axis(left)
        left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        left.xaxis.set_minor_formatter(NullFormatter())
    left.set_title(f"From step {start:,}")
    left.set_xlabel("lag $t - t_0$ (training steps)")
    left.set_ylabel("KL (bits per byte)")
    if twin is not None:
        twin.set_yscale("log")
        _same_span(left, twin)
        twin.set_ylabel("squared distance of weights")
        twin.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        twin.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        twin.yaxis.set_minor_formatter(NullFormatter())
        twin.spines["right"].set_visible(True)
        twin.grid(visible=False)


def _same_span(left: Axes, twin: Axes) -> None:
    """Gives both logarithmic axes as many decades, so that slopes compare."""
    spans = [np.log(axes.get_ylim()) for axes in (left, twin)]
    most = max(high - low for low, high in spans)
    for axes, (low, high) in zip((left, twin), spans, strict=True):
        axes.set_ylim(
            np.exp(low - (most - (high - low)) / 2), np.exp(high + (most - (high - low)) / 2)
        )
