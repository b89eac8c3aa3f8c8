"""Distributions of KL divergence in ten settings: Kishino et al. 2026, fig. 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style
from jaxmap.figures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.scale import Scale

LINEAR_BELOW = 0.1  # bits per byte
FEWEST = 8  # values of a violin; fewer are drawn as points
FEWEST_TICKS = 3
COLORS = {
    **dict.fromkeys(("later", "early", "seed", "size"), style.PALETTE[0]),
    **dict.fromkeys(("8-bit", "4-bit"), style.PALETTE[2]),
    **dict.fromkeys(("ft", "intra-type", "random"), style.PALETTE[1]),
    "layer": style.PALETTE[3],
}


def draw(scale: Scale, width: float = 7.2) -> Figure:
    """Draws violins of KL (bits per byte) on a symlog axis, linear below 0.1, with medians.

    A setting without pairs keeps its position. The density is estimated in the coordinates of the
    axis, so that widths are correct as drawn. `width` is in inches.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    settings = [(row.setting.name, row.divergence.kl) for row in scale.rows]
    with style.look():
        figure = new_figure(width, 3.6)
        axes = figure.subplots()
        axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
        highest = max((float(v.max()) for _, v in settings if len(v)), default=1.0)
        top = highest * 1.5 or LINEAR_BELOW  # where every KL is 0 too
        axes.set_ylim(0.0, top)
        for place, (name, kl_P) in enumerate(settings):
            color = COLORS.get(name, style.PALETTE[0])
            if len(kl_P) >= FEWEST:
                _violin(axes, place, kl_P, color)
            elif len(kl_P):
                axes.scatter(np.full(len(kl_P), place), kl_P, s=14, color=color, alpha=0.7)
            if len(kl_P):
                median = float(np.median(kl_P))
                axes.plot([place - 0.3, place + 0.3], [median, median], color=style.INK, lw=1.4)
                label = axes.annotate(
                    f"{median:.2g}", (place, median), xytext=(0, 3), textcoords="offset points",
                    ha="center", va="bottom", fontsize=7.5,
                )  # fmt: skip
                label.set_path_effects([withStroke(linewidth=2.0, foreground="white", alpha=0.8)])
            else:
                axes.text(
                    place, 0.02, "none", ha="center", color=style.FAINT, fontsize=8,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        labels = [f"{name}\nn = {len(kl_P)}" for name, kl_P in settings]
        axes.set_xticks(range(len(settings)), labels)
        axes.tick_params(axis="x", length=0, labelsize=8)
        axes.grid(axis="x", visible=False)
        axes.set_xlim(-0.6, len(settings) - 0.4)
        ticks = [0.0, 0.05, *(b * 10.0**p for p in range(-1, 6) for b in (1, 3))]
        shown = [tick for tick in ticks if tick <= top]
        few = len(shown) < FEWEST_TICKS
        axes.yaxis.set_major_locator(MaxNLocator(5) if few else FixedLocator(shown))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.set_ylabel("KL divergence (bits per byte)")
    return figure


def _violin(axes: Axes, place: int, kl_P: np.ndarray, color: str) -> None:
    transform = axes.yaxis.get_transform()
    y_P = transform.transform(np.asarray(kl_P, float))
    spread = float(y_P.std())
    # Scott's rule; a hair's breadth where all values are one.
    span = float(np.ptp(transform.transform(np.array(axes.get_ylim()))))
    bandwidth = max(spread * len(y_P) ** -0.2, 2e-3 * span)
    low, high = max(0.0, float(y_P.min()) - 3 * bandwidth), float(y_P.max()) + 3 * bandwidth
    grid_G = np.linspace(low, high, 200)
    density_G = np.exp(-0.5 * ((grid_G[:, None] - y_P) / bandwidth) ** 2).sum(axis=1)
    half_G = 0.42 * density_G / density_G.max()
    height_G = transform.inverted().transform(grid_G)
    axes.fill_betweenx(
        height_G, place - half_G, place + half_G, color=color, alpha=0.55, linewidth=0
    )
