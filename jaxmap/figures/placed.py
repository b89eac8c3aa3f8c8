"""New models, scored on few texts, on the map of others, with the error of their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style
from jaxmap.figures.legend import kind_colors, kind_legend, lighter, map_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.stats.embed import Embedding

MOST_NAMES = 8  # of new models that are written beside them


def draw(
    embedding: Embedding,
    kinds: Sequence[str],
    placed: Sequence[tuple[str, np.ndarray, np.ndarray]],
    width: float = 7.2,
) -> Figure:
    """Draws the map's models as pale dots and new ones as diamonds with two standard errors.

    Args:
      embedding: principal components of the map's models.
      kinds: their types, for the colours.
      placed: name, place [2] and its standard error [2] of each new model.
      width: inches.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with style.look():
        figure = Figure(figsize=(width, 5.4), layout="constrained")
        axes = figure.subplots()
        colors = kind_colors(kinds)
        axes.scatter(
            embedding.xy_K2[:, 0], embedding.xy_K2[:, 1], s=14,
            c=[lighter(colors[kind], 0.4) for kind in kinds], linewidths=0,
        )  # fmt: skip
        for name, xy_2, error_2 in placed:
            x, y = xy_2.tolist()
            axes.errorbar(
                x, y, xerr=2 * error_2[0], yerr=2 * error_2[1], fmt="D", ms=5, color=style.INK,
                mec="white", mew=0.6, elinewidth=1.0, capsize=2, zorder=3,
            )  # fmt: skip
            if len(placed) <= MOST_NAMES:
                axes.annotate(
                    name, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8, zorder=4
                )
        map_axes(axes, embedding)
        new = Line2D([], [], marker="D", ls="", ms=5, color=style.INK,
                     label="new, ± two standard errors")  # fmt: skip
        kind_legend(figure, colors, [new])
    return figure
