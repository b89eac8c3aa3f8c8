"""Lines of training runs: styles that differ in colour and in print, bands of errors, legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.figures.legend import legend_below
from jaxmap.figures.names import short_names
from jaxmap.figures.style import PALETTE
from jaxmap.naming import parse_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P")
MARKED = 16  # markers of a line at most; more would hide it
MOST_LINES = 9  # of a legend with a line for each seed


@dataclass(frozen=True)
class LineStyle:
    """How the line of one run is drawn: colour, dashes, opacity, width in points, and marker."""

    color: str
    dashes: str | tuple[float, tuple[float, ...]]
    alpha: float = 1.0
    width: float = 1.6
    marker: str = "o"


def run_styles(names: Iterable[str], all_names: Iterable[str] = ()) -> dict[str, LineStyle]:
    """A style for each run by its place among all runs, so that a run looks the same in figures
    that leave out others; dashes and markers differ too, so that print without colour has them.

    Runs of one model, which differ in seed, have its colour, and further seeds are lighter;
    `pythia-14m-seed3` is a seed of `pythia-14m`. Where all runs are of one model, each has a colour
    of its own. No two of the first 24 runs have the same dashes and markers.
    """
    shown = tuple(names)
    runs = {name: parse_run(name) for name in (*all_names, *shown)}
    bases = list(dict.fromkeys(run.base for run in runs.values()))
    styles = {}
    for place, (name, run) in enumerate(runs.items()):
        group, turn = place // len(DASHES), place % len(DASHES)
        lighter = run.seed is not None and len(bases) > 1
        styles[name] = LineStyle(
            PALETTE[(place if len(bases) == 1 else bases.index(run.base)) % len(PALETTE)],
            DASHES[turn],
            *((0.65, 1.1) if lighter else (1.0, 1.6)),
            MARKERS[(turn - group) % len(MARKERS)],
        )
    return {name: styles[name] for name in shown}


def draw_line(
    axes: Axes,
    x_I: np.ndarray,
    y_I: np.ndarray,
    look: LineStyle,
    *,
    error_I: np.ndarray | None = None,
    label: str = "",
    logarithmic: bool = False,
) -> None:
    """Draws values against time, with a band of one standard error where errors are given.

    NaN is a gap. On a logarithmic axis so is a value of 0 or less, and bands end at a tenth of it.
    """
    y_I = np.asarray(y_I, float)
    if logarithmic:
        y_I = np.where(y_I > 0, y_I, np.nan)
    if not np.isfinite(y_I).any():
        return
    if error_I is not None and np.isfinite(error_I).any():
        low_I = y_I - error_I
        if logarithmic:
            low_I = np.maximum(low_I, y_I / 10)
        axes.fill_between(
            x_I, low_I, y_I + error_I, color=look.color, alpha=0.18 * look.alpha, linewidth=0
        )
    axes.plot(
        x_I, y_I, color=look.color, linestyle=look.dashes, alpha=look.alpha, linewidth=look.width,
        marker=look.marker, markersize=2.0 + look.width, markevery=max(1, -(-len(y_I) // MARKED)),
        label=label,
    )  # fmt: skip


def run_legend(figure: Figure, styles: dict[str, LineStyle], more: Sequence[Any] = ()) -> None:
    """A line of the legend for each run, then further handles.

    When there are many runs, the further seeds of a model share one line.
    """
    from matplotlib.lines import Line2D

    lines: dict[str, LineStyle] = {}
    for name, look in styles.items():
        one = parse_run(name)
        if one.seed is not None and len(styles) > MOST_LINES:
            name = f"{one.base}, further seeds"
        lines.setdefault(name, look)
    handles = [
        Line2D([], [], color=look.color, alpha=look.alpha, lw=look.width, ls=look.dashes,
               marker=look.marker, ms=2.0 + look.width, label=label)
        for label, look in zip(short_names(list(lines)), lines.values(), strict=True)
    ]  # fmt: skip
    legend_below(figure, [*handles, *more])
