"""Parts that all maps share: a colour for each type of model, axes, the legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.stats.embed import Embedding

OTHER = "other"
MOST_LINES, MOST_COLUMNS = 24, 4  # of a legend
LETTER, ROW = 0.07, 0.18  # inches of a legend's letters and lines
HAIR_SPACE = "\u200a"


def kind_colors(kinds: Sequence[str]) -> dict[str, str]:
    """A colour for each type: the six most frequent have their own, the others are grey.

    More colours cannot be told apart.
    """
    count = Counter(kinds)
    order = sorted(count, key=lambda kind: (kind in ("", OTHER), -count[kind], kind))
    named = [kind for kind in order if kind not in ("", OTHER)][: len(style.PALETTE)]
    return {kind: style.PALETTE[named.index(kind)] if kind in named else style.FAINT
            for kind in order}  # fmt: skip


def lighter(color: str, share: float) -> tuple[float, float, float]:
    """A colour mixed with white; a share of 0 changes nothing, 1 is white."""
    from matplotlib.colors import to_rgb

    return tuple(np.array(to_rgb(color)) * (1 - share) + share)


def axis_names(embedding: Embedding) -> tuple[str, str]:
    """The labels of a map's axes, with units and shares of the variance."""
    if embedding.method == "tsne":
        return "t-SNE 1 (no unit)", "t-SNE 2 (no unit)"
    first, second = (
        f"PC {place}: {share:.0%} of the variance\n√(bits/byte)"
        for place, share in enumerate(embedding.explained, 1)
    )
    return first, second


def map_axes(axes: Axes, embedding: Embedding) -> None:
    """Sets labels, and equal scales on both axes, so that distances are drawn correctly."""
    axes.set_xlabel(axis_names(embedding)[0])
    axes.set_ylabel(axis_names(embedding)[1])
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(visible=True)


def colors_of(kinds: Sequence[str], colors: dict[str, str] | None) -> dict[str, str]:
    """Of `colors`, a colour for each kind on all maps, those of the kinds on this one."""
    if colors is None:
        return kind_colors(kinds)
    return {kind: color for kind, color in colors.items() if kind in set(kinds)}


def kind_legend(figure: Figure, colors: dict[str, str], extra: Sequence = ()) -> None:
    """The kinds that have a colour, `other` for the grey ones, then what else there is to know."""
    from matplotlib.lines import Line2D

    def dot(color: str, label: str) -> Line2D:
        return Line2D([], [], marker="o", ls="", ms=5, color=color, label=label)

    handles = [dot(c, kind) for kind, c in colors.items() if c != style.FAINT]
    if style.FAINT in colors.values():
        handles.append(dot(style.FAINT, OTHER if handles else "models"))
    legend_below(figure, [*handles, *extra])


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """Puts a legend below the panels, in as many columns as fit, and makes the figure as much
    taller as the legend is. More than 24 lines end with how many more there are."""
    from matplotlib.lines import Line2D

    if not handles:
        return
    shown = list(handles[:MOST_LINES])
    if len(handles) > len(shown):
        shown[-1:] = [Line2D([], [], ls="", label=f"and {len(handles) - len(shown) + 1} more")]
    for one in shown:
        one.set_label(shown_label(one.get_label()))
    wide, high = figure.get_size_inches()
    column = 0.6 + LETTER * max(len(one.get_label()) for one in shown)
    columns = min(len(shown), MOST_COLUMNS, max(1, int(wide / column)))
    rows = -(-len(shown) // columns)
    figure.set_size_inches(wide, high + ROW * max(rows - 2, 0))
    figure.legend(handles=shown, loc="outside lower center", ncols=columns)


def shown_label(label: str) -> str:
    """A label that matplotlib shows: it leaves those out that begin with an underscore."""
    return f"{HAIR_SPACE}{label}" if label.startswith("_") else label
