"""The dynamics of runs: speed, turns, curvature, KL to the end and between seeds, exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, lines, style
from jaxmap.figures.figure import new_figure
from jaxmap.figures.names import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.dynamics import Dynamics, Series

LABELS = {
    "speed": "speed\n(√(bits per byte) a {unit})",
    "turn": "cosine of turns",
    "curvature": "curvature\n(1 / √(bits per byte))",
    "kl_to_final": "KL to the last checkpoint\n(bits per byte)",
    "kl_between_seeds": "KL between seeds, mean\n(bits per byte)",
    "exponent": "exponent,\nlog-likelihoods",
    "exponent_weight": "exponent, weights",
    "exponent_difference": "exponent of weights less\nthat of log-likelihoods",
}
LOGARITHMIC = ("speed", "curvature", "kl_to_final", "kl_between_seeds")
LEVELS = {"turn": 0.0, "exponent": 1.0, "exponent_weight": 1.0, "exponent_difference": 0.0}
COLUMNS = 2
MOST_DOMAINS = 6
LONGEST = 50  # letters of a panel's title


def draw(dynamics: Dynamics, width: float = 7.2) -> Figure | None:
    """Draws a panel for each measure against training time, with one standard error.

    A line marks the value of a random walk: 0 for turns, 1 for exponents. Returns None if there are
    no measures. `width` is in inches.
    """
    shown = [one for one in dynamics.series if not one.domain and np.isfinite(one.values).any()]
    measures = [name for name in LABELS if any(one.measure == name for one in shown)]
    if not measures:
        return None
    styles = lines.run_styles(
        dict.fromkeys(one.run for one in shown if one.measure != "kl_between_seeds"),
        dynamics.run_names,
    )
    seeds = [one.run for one in shown if one.measure == "kl_between_seeds"]
    looks = {**styles, **lines.run_styles(seeds)}
    rows = -(-len(measures) // COLUMNS)
    with style.look():
        figure = new_figure(width, 2.3 * rows + 0.5)
        panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, name in zip(panels, measures, strict=False):
            _panel(axes, [one for one in shown if one.measure == name], looks)
        for axes in panels[len(measures) :]:
            axes.set_axis_off()
        lines.run_legend(figure, styles)
        sentence = captions.scores_are(dynamics.recipe, dynamics.group, cleaned=True)
        captions.write_above(figure, sentence)
    return figure


def draw_domains(dynamics: Dynamics, width: float = 7.2) -> Figure | None:
    """Draws the KL to the last checkpoint on the texts of each domain, with a panel per run.

    Only the largest of many domains are drawn. Returns None without domains.
    """
    shown = [one for one in dynamics.series if one.domain and one.measure == "kl_to_final"]
    domains = list(dict.fromkeys(one.domain for one in shown))[:MOST_DOMAINS]
    runs = list(dict.fromkeys(one.run for one in shown))
    if not runs:
        return None
    looks = {
        name: lines.LineStyle(
            style.PALETTE[i], lines.DASHES[i % len(lines.DASHES)], 1.0, 1.4, lines.MARKERS[i]
        )
        for i, name in enumerate(domains)
    }
    rows = -(-len(runs) // COLUMNS)
    with style.look():
        figure = new_figure(width, 2.5 * rows + 0.5)
        panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, run in zip(panels, runs, strict=False):
            for one in shown:
                if one.run == run and one.domain in looks:
                    lines.draw_line(
                        axes, one.times, one.values, looks[one.domain], error_I=one.errors,
                        label=one.domain, logarithmic=True,
                    )  # fmt: skip
            _finish(axes, "kl_to_final", shown[0].unit, [one for one in shown if one.run == run])
            axes.set_title(short_names([run])[0])
        for axes in panels[len(runs) :]:
            axes.set_axis_off()
        lines.run_legend(figure, looks)
        sentence = captions.scores_are(dynamics.recipe, dynamics.group, cleaned=True)
        captions.write_above(figure, sentence)
    return figure


def _panel(axes: Axes, series: Sequence[Series], looks: dict[str, lines.LineStyle]) -> None:
    name, unit = series[0].measure, series[0].unit
    for one in series:
        lines.draw_line(
            axes, one.times, one.values, looks[one.run], error_I=one.errors, label=one.run,
            logarithmic=name in LOGARITHMIC,
        )  # fmt: skip
    _finish(axes, name, unit, series)
    if name == "kl_between_seeds":
        names = "; ".join(one.run for one in series)
        axes.set_title(names if len(names) <= LONGEST else f"{len(series)} models", fontsize=8)


def _finish(axes: Axes, name: str, unit: str, series: Sequence[Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_ylabel(LABELS[name].format(unit=unit))
    axes.set_xlabel(style.time_label(unit))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda x, _: style.time_tick(x, unit))
    if name in LEVELS:
        axes.axhline(LEVELS[name], color=style.FAINT, linewidth=0.9)
    elif any((one.values > 0).any() for one in series):
        style.plain_log_axis(axes)
