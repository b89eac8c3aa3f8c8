"""Maps of models and their relatives: Kishino et al. 2026, fig. 2a and 2b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style
from jaxmap.figures.figure import new_figure
from jaxmap.figures.legend import colors_of, kind_legend, lighter, map_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.stats.embed import Embedding

CROWD = 150  # models from which markers are smaller
MARKERS = ("o", "s", "^", "D")  # generations 1 to 4; later ones are drawn as the fourth


def draw_models(
    embedding: Embedding,
    kinds: Sequence[str],
    width: float = 7.2,
    colors: dict[str, str] | None = None,
) -> Figure:
    """Draws models as dots, coloured by type (Oyama et al. 2025).

    `width` is in inches; `colors` are the colours of types, if several maps share them.
    """
    with style.look():
        figure, axes = _figure(width)
        colors = colors_of(kinds, colors)
        axes.scatter(
            embedding.xy_K2[:, 0],
            embedding.xy_K2[:, 1],
            s=14,
            c=[colors[kind] for kind in kinds],
            linewidths=0,
        )
        map_axes(axes, embedding)
        kind_legend(figure, colors)
    return figure


def draw_quantised(
    embedding: Embedding,
    pairs_P2: np.ndarray,
    kinds: Sequence[str],
    variant: str,
    width: float = 7.2,
    colors: dict[str, str] | None = None,
) -> Figure:
    """Fig. 2a: each model (dot) and its quantised copy (ring), joined by a line, coloured by type.

    `pairs_P2` are rows of the embedding, the model first. `width` is in inches.
    """
    from matplotlib.lines import Line2D

    pairs_P2 = np.asarray(pairs_P2, np.int64)
    with style.look():
        figure, axes = _figure(width)
        colors = colors_of(kinds, colors)
        color_K = np.array([colors[kind] for kind in kinds], object)
        _join(axes, embedding.xy_K2, pairs_P2, [colors[kinds[i]] for i in pairs_P2[:, 0]])
        plain_M, small_M = np.unique(pairs_P2[:, 0]), np.unique(pairs_P2[:, 1])
        axes.scatter(
            embedding.xy_K2[plain_M, 0], embedding.xy_K2[plain_M, 1], s=22,
            c=list(color_K[plain_M]), linewidths=0, label="model",
        )  # fmt: skip
        axes.scatter(
            embedding.xy_K2[small_M, 0], embedding.xy_K2[small_M, 1], s=46, facecolors="none",
            edgecolors=list(color_K[small_M]), linewidths=1.1, label=variant,
        )  # fmt: skip
        map_axes(axes, embedding)
        kind_legend(
            figure,
            colors,
            [
                Line2D([], [], marker="o", ls="", ms=4.5, color=style.INK, label="model"),
                Line2D([], [], marker="o", ls="", ms=7, mfc="none", color=style.INK,
                       label=f"its {variant} version"),
            ],
        )  # fmt: skip
    return figure


def draw_families(
    embedding: Embedding,
    pairs_P2: np.ndarray,
    generation_K: np.ndarray,
    kinds: Sequence[str],
    width: float = 7.2,
    colors: dict[str, str] | None = None,
) -> Figure:
    """Fig. 2b: parents and children joined by lines, with a marker by generation.

    `pairs_P2` are rows of the embedding, the parent first. `generation_K` is int; 1 has no parent
    on the map. `width` is in inches; `colors` are the colours of types, if several maps share them.
    """
    from matplotlib.lines import Line2D

    pairs_P2 = np.asarray(pairs_P2, np.int64)
    with style.look():
        figure, axes = _figure(width)
        colors = colors_of(kinds, colors)
        _join(axes, embedding.xy_K2, pairs_P2, [colors[kinds[j]] for j in pairs_P2[:, 1]])
        shown = np.minimum(generation_K, len(MARKERS))
        crowd = min(1.0, (CROWD / len(generation_K)) ** 0.5)
        extra = []
        for number, marker in enumerate(MARKERS, 1):
            (rows,) = np.nonzero(shown == number)
            if not len(rows):
                continue
            axes.scatter(
                embedding.xy_K2[rows, 0], embedding.xy_K2[rows, 1],
                s=(70 if number == 1 else 18) * crowd, marker=marker,
                c=[colors[kinds[int(k)]] for k in rows], edgecolors="white", linewidths=0.4 * crowd,
                label=f"generation {number}",
            )  # fmt: skip
            extra.append(Line2D([], [], marker=marker, ls="", ms=5, color=style.INK,
                                label=f"generation {number}"))  # fmt: skip
        map_axes(axes, embedding)
        kind_legend(figure, colors, extra)
    return figure


def _figure(width: float) -> tuple[Figure, Axes]:

    figure = new_figure(width, 5.4)
    return figure, figure.subplots()


def _join(axes: Axes, xy_K2: np.ndarray, pairs_P2: np.ndarray, colors: Sequence[str]) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(
        LineCollection(
            list(xy_K2[pairs_P2]),
            colors=[lighter(color, 0.45) for color in colors],
            linewidths=0.8,
            zorder=0.5,
        )
    )
