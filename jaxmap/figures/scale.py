"""Distributions of KL divergence in ten settings: Kishino et al. 2026, fig. 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style
from jaxmap.figures.digits import number
from jaxmap.figures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.scale import Scale

FEWEST = 30  # values of a violin; fewer are drawn as dots
WIDEST = 0.4  # half the width of a violin; settings are 1 apart
MARGIN = 2.5  # factor between the ends of the data and those of the axis
COLORS = {
    **dict.fromkeys(("later", "early", "seed", "size"), style.PALETTE[0]),
    **dict.fromkeys(("8-bit", "4-bit"), style.PALETTE[2]),
    **dict.fromkeys(("ft", "intra-type", "random"), style.PALETTE[1]),
    "layer": style.PALETTE[3],
}


def draw(scale: Scale, width: float = 7.2) -> Figure:
    """Draws the KL (bits per byte) of each setting on a logarithmic axis.

    30 values and more are a violin, which ends where the values end; fewer are dots, side by side.
    A line is the median, and its number is above the largest value. A KL of exactly 0 has no place
    on the axis: a triangle at its lower end stands for it. A setting without pairs keeps its
    position. `width` is in inches.
    """
    rows = [
        (row.setting.name, row.setting.cleaned, np.asarray(row.divergence.kl, float))
        for row in scale.rows
    ]
    every = np.concatenate([kl_P for *_, kl_P in rows])
    above_0 = every[every > 0]
    low, high = (above_0.min(), above_0.max()) if len(above_0) else (0.1, 1.0)
    with style.look():
        figure = new_figure(width, 3.8)
        axes = figure.subplots()
        axes.set_yscale("log")
        axes.set_ylim(low / MARGIN, high * MARGIN)
        for place, (name, _, kl_P) in enumerate(rows):
            if len(kl_P):
                _setting(axes, place, kl_P, COLORS.get(name, style.PALETTE[0]), low / MARGIN)
            else:
                axes.text(
                    place, 0.02, "none", ha="center", color=style.FAINT, fontsize=8,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        labels = [
            f"{name}\nn = {len(kl_P):,}\n{('cleaned' if cleaned else 'raw') if len(kl_P) else ''}"
            for name, cleaned, kl_P in rows
        ]
        axes.set_xticks(range(len(rows)), labels)
        axes.tick_params(axis="x", length=0, labelsize=8)
        axes.grid(axis="x", visible=False)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        style.plain_log_axis(axes)
        axes.set_ylabel("KL divergence (bits per byte)")
    return figure


def _setting(axes: Axes, place: int, kl_P: np.ndarray, color: str, bottom: float) -> None:
    """Draws the values of one setting, their median and its number."""
    known_P = kl_P[kl_P > 0]
    if len(known_P) >= FEWEST and known_P.max() > known_P.min():
        _violin(axes, place, known_P, color)
    elif len(known_P):
        axes.scatter(place + beside(known_P), known_P, s=14, color=color, alpha=0.75, linewidths=0)
    if len(known_P) < len(kl_P):
        axes.plot(
            [place], [bottom], marker="v", mfc="none", mec=color, ms=6, ls="", clip_on=False,
            zorder=3,
        )  # fmt: skip
    median = float(np.median(kl_P))
    if median > 0:
        axes.plot([place - 0.3, place + 0.3], [median, median], color=style.INK, lw=1.4)
    axes.annotate(
        number(median, 2), (place, max(kl_P.max(), bottom)), xytext=(0, 5),
        textcoords="offset points", ha="center", va="bottom", fontsize=7.5,
    )  # fmt: skip


def beside(values_P: np.ndarray) -> np.ndarray:
    """Positions of dots left and right of the middle, by rank, so that near values do not cover
    one another; a single one is in the middle."""
    rank_P = values_P.argsort(kind="stable").argsort(kind="stable")
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    return (np.mod(0.5 + rank_P * golden, 1.0) - 0.5) * min(0.5, 0.12 * (len(values_P) - 1))


def _violin(axes: Axes, place: int, kl_P: np.ndarray, color: str) -> None:
    """Draws the density of log KL, by Scott's rule, from the smallest to the largest value."""
    log_P = np.log(kl_P)
    bandwidth = float(log_P.std()) * len(log_P) ** -0.2
    grid_G = np.linspace(log_P.min(), log_P.max(), 200)
    density_G = np.exp(-0.5 * ((grid_G[:, None] - log_P) / bandwidth) ** 2).sum(axis=1)
    half_G = WIDEST * density_G / density_G.max()
    axes.fill_betweenx(
        np.exp(grid_G), place - half_G, place + half_G, color=color, alpha=0.55, linewidth=0
    )
