"""A section of the page: HTML, and figures with captions that explain how to read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure on the page; its title and caption are plain text.

    name: of the files that the figure is saved as.
    """

    name: str
    title: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page: HTML, and the figures after it, which the page numbers."""

    html: str = ""
    pictures: tuple[Picture, ...] = ()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A table of plain text; columns from `numbers_from` on are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="number">{cell}</{tag}>'
            if i >= numbers_from
            else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(map(escape, cells))
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{line(heads, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def with_error(value: float, error: float, digits: int = 3) -> str:
    """`1.234 ± 0.005`."""
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def percent(share: float) -> str:
    """`2 %` of 0.02."""
    return f"{100 * share:g} %"
