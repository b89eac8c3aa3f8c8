"""New models that were scored on few texts, on an existing map, with errors of their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxmap.figures import captions, style
from jaxmap.figures.figure import new_figure
from jaxmap.figures.legend import kind_colors, kind_legend, lighter, map_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.analysis.place import Placing

MOST_NAMES = 8  # of new models that are written beside them


def draw(placing: Placing, width: float = 7.2) -> Figure:
    """Draws the map's models as pale dots, and new ones as diamonds with two standard errors.

    Positions are those in the map's two leading principal components. `width` is in inches.
    """
    from matplotlib.lines import Line2D

    embedding, kinds, placed = placing.embedding, placing.kinds, placing.placed
    with style.look():
        figure = new_figure(width, 5.4)
        axes = figure.subplots()
        colors = kind_colors(kinds)
        axes.scatter(
            embedding.xy_K2[:, 0], embedding.xy_K2[:, 1], s=14,
            c=[lighter(colors[kind], 0.4) for kind in kinds], linewidths=0,
        )  # fmt: skip
        for one in placed:
            x, y = one.xy_2.tolist()
            error_2 = one.error_2
            axes.errorbar(
                x, y, xerr=2 * error_2[0], yerr=2 * error_2[1], fmt="D", ms=5, color=style.INK,
                mec="white", mew=0.6, elinewidth=1.0, capsize=2, zorder=3,
            )  # fmt: skip
            if len(placed) <= MOST_NAMES:
                axes.annotate(
                    one.model,
                    (x, y),
                    xytext=(6, 5),
                    textcoords="offset points",
                    fontsize=8,
                    zorder=4,
                )  # fmt: skip
        map_axes(axes, embedding)
        new = Line2D([], [], marker="D", ls="", ms=5, color=style.INK,
                     label="new, ± two standard errors")  # fmt: skip
        kind_legend(figure, colors, [new])
        captions.write_above(figure, "Scores: raised to the lower limit of the map's models.")
    return figure
