"""The map of layers: Kishino et al. 2026, fig. 2c."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style
from jaxmap.figures.figure import new_figure
from jaxmap.figures.legend import colors_of, kind_legend, lighter, map_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.stats.embed import Embedding


FEW = 12  # models up to which lines and marks have their full size


def draw(
    embedding: Embedding,
    models: Sequence[str],
    layer_K: np.ndarray,
    kinds: Sequence[str],
    width: float = 7.2,
    colors: dict[str, str] | None = None,
) -> Figure:
    """Draws the layers of each model along a line; deeper is lighter, the last is a white square.

    Lines and marks of many models are smaller, so that they do not hide one another.

    Args:
      embedding: the positions.
      models: the model of each row of the embedding.
      layer_K: its layer, 0 (the embedding) to the last layer of the model.
      kinds: the types of the models, for the colours.
      width: in inches.
      colors: the colours of types, if several maps share them.
    """
    from matplotlib.lines import Line2D

    layer_K = np.asarray(layer_K)
    with style.look():
        figure = new_figure(width, 5.4)
        axes = figure.subplots()
        colors = colors_of(kinds, colors)
        names = list(dict.fromkeys(models))
        share = min(1.0, (FEW / max(len(names), 1)) ** 0.5)  # of many models all is smaller
        for model in names:
            rows = np.array([k for k, name in enumerate(models) if name == model])
            rows = rows[np.argsort(layer_K[rows], kind="stable")]
            color = colors[kinds[rows[0]]]
            xy_L2 = embedding.xy_K2[rows]
            depth_L = layer_K[rows] / max(layer_K[rows].max(), 1)
            axes.plot(*xy_L2.T, color=lighter(color, 0.5), lw=0.7 * share, zorder=1)
            axes.scatter(
                xy_L2[:-1, 0], xy_L2[:-1, 1], s=16 * share,
                c=[lighter(color, 0.75 * d) for d in depth_L[:-1]], linewidths=0,
                zorder=2, label=model,
            )  # fmt: skip
            axes.scatter(
                xy_L2[-1, 0], xy_L2[-1, 1], s=30 * share, marker="s", facecolors="white",
                edgecolors=color, linewidths=1.2 * share, zorder=3,
            )  # fmt: skip
        map_axes(axes, embedding)
        kind_legend(
            figure,
            colors,
            [
                Line2D([], [], marker="s", ls="", ms=5.5, mfc="white", color=style.INK,
                       label="last layer"),
                Line2D([], [], marker="o", ls="-", lw=0.7, ms=4, color=style.INK,
                       label="layers, deeper is lighter"),
            ],
        )  # fmt: skip
    return figure
