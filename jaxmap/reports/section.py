"""A section of the page: a title, HTML, and figures with captions that explain how to read them."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "<!-- figure -->"  # in a section's HTML: the page puts the number of a figure here
MOST_CSV_ROWS = 5000  # of a table that the page carries as a file


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
    """A part of the page: HTML, and the figures after it, which the page numbers.

    Fields:
      title: its heading, plain text; the contents of the page list it. "": no heading.
      html: what follows the heading. `FIGURE` in it becomes the number of a figure.
      pictures: what follows the HTML.
      kind: a class of the style sheet, or "".
      name: what follows `#` in a link to the section; "": made of the title.
    """

    title: str = ""
    html: str = ""
    pictures: tuple[Picture, ...] = ()
    kind: str = ""
    name: str = ""

    @property
    def anchor(self) -> str:
        """What follows `#` in a link to the section."""
        return self.name or re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers_from: int = 1,
    *,
    words: Collection[int] = (),
    download: str = "",
) -> str:
    """A table of plain text; columns from `numbers_from` on are numbers, but for `words`.

    `download` is HTML under the table: `csv_link` of what it shows.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="number">{cell}</{tag}>'
            if i >= numbers_from and i not in words
            else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(map(escape, cells))
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{line(heads, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{download}"
    )


def csv_link(name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A link that saves a table with all its digits as NAME.csv; the page carries it itself.

    Larger ones than the page can carry have none: "".
    """
    if len(rows) > MOST_CSV_ROWS:
        return ""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    code = base64.b64encode(text.getvalue().encode("utf-8", errors="replace")).decode("ascii")
    return (
        f'<p class="files"><a download="{escape(name)}.csv" '
        f'href="data:text/csv;charset=utf-8;base64,{code}">{escape(name)}.csv</a></p>'
    )


def percent(share: float) -> str:
    """`2 %` of 0.02."""
    return f"{100 * share:g} %"
