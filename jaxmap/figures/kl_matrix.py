"""KL divergence between every two of a few models, as a matrix of colours and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, style
from jaxmap.figures.digits import number, tick
from jaxmap.figures.figure import new_figure
from jaxmap.figures.names import short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.analysis.kl import KlTable

FEWEST, MOST = 2, 40  # models of a square
MOST_NUMBERS = 12  # models up to which each square has its number
# Numbers lie on a square, not on the page, whose own colours the report puts in the place of ink
# and white.
ON_LIGHT, ON_DARK = "#111418", "#fdfdfd"


def draw(table: KlTable, width: float = 7.2) -> Figure | None:
    """Draws a square for each pair, darker for a larger KL, on a logarithmic scale.

    Returns None if a pair was not measured, or if there are too few or too many models. A KL of
    exactly 0 is white. `width` is in inches.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names, kl_KK = short_names(table.labels), table.to_matrix().to_numpy()
    if not FEWEST <= len(names) <= MOST or np.isnan(kl_KK).any():
        return None
    known = kl_KK[kl_KK > 0]
    low, high = (known.min(), known.max()) if len(known) else (1.0, 1.0)
    norm = LogNorm(low, high if high > low else low * 10)
    with style.look():
        figure = new_figure(width, min(width, 1.6 + 0.42 * len(names)))
        axes = figure.subplots()
        shown = np.ma.masked_less_equal(kl_KK, 0.0)
        blues = colormaps["Blues"].with_extremes(bad=ON_DARK)
        image = axes.imshow(shown, norm=norm, cmap=blues, aspect="auto")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=8)
        axes.grid(visible=False)
        if len(names) <= MOST_NUMBERS:
            for i, j in zip(*np.nonzero(~np.eye(len(names), dtype=bool)), strict=True):
                dark = kl_KK[i, j] > 0 and norm(kl_KK[i, j]) > 0.6
                text = number(kl_KK[i, j], 2).replace(" × ", "·")
                axes.text(
                    j, i, text, ha="center", va="center", fontsize=7.5 if len(text) < 7 else 6.0,
                    color=ON_DARK if dark else ON_LIGHT,
                )  # fmt: skip
        if len(known):
            bar = figure.colorbar(image, ax=axes, shrink=0.8)
            bar.set_label("KL divergence (bits per byte)")
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick(y)))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
        captions.write_above(figure, captions.RAW)
    return figure
