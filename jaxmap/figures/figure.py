"""The figures of a result, which notebooks show inline, and saving them in three formats."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmap.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Figures(dict[str, "Figure"]):
    """matplotlib figures by the name of the file that `save_figures` gives each.

    A notebook shows all of them, one below the other. A name without a figure (None) is left out.
    """

    def __init__(
        self, figures: Mapping[str, Figure | None] | None = None, /, **more: Figure | None
    ):
        drawn = {**(figures or {}), **more}
        super().__init__({name: one for name, one in drawn.items() if one is not None})

    def _repr_html_(self) -> str:
        return "".join(f"<div>{svg_of(figure)}</div>" for figure in self.values())


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches, that a notebook shows by itself, whether or not it uses pyplot."""
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            return _drawn(self, "png")

    return NotebookFigure(figsize=(width, height), layout="constrained")


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> list[Path]:
    """Writes each as FOLDER/NAME.png, .svg and .pdf; returns the paths."""
    return [path for name, one in figures.items() for path in style.save(one, Path(folder) / name)]


def svg_of(figure: Figure) -> str:
    """The text of the .svg file that `save_figures` writes."""
    return _drawn(figure, "svg").decode("utf-8")


def _drawn(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    style.write(figure, file, kind)
    return file.getvalue()
