"""One self-contained HTML page about a store: opens offline, in light and dark, on a phone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmap.analysis.context import Context
from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.figures.figure import Figures, save_figures, svg_of
from jaxmap.reports.css import CSS, POLICY
from jaxmap.reports.interactive import script
from jaxmap.reports.section import FIGURE, Picture, Section
from jaxmap.reports.sections import SECTIONS
from jaxmap.reports.svg import inline_svg
from jaxmap.reports.view import View
from jaxmap.results import Result
from jaxmap.tables import to_frame

if TYPE_CHECKING:
    import pandas

ENDINGS = (".html", ".htm")


@dataclass(frozen=True)
class Report(Result):
    """A page about a store, its figures, and the results that it shows."""

    html: str
    figures: Figures
    view: View

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per result of the store: model (its label) and bits_per_byte of all texts."""
        context = self.view.context
        labels = [entry.label for entry in context.entries]
        bits_K = context.bits_per_byte(context.entries).tolist()
        return to_frame(("model", "bits_per_byte"), zip(labels, bits_K, strict=True))

    def draw(self) -> Figures:
        """The figures of the page."""
        return self.figures

    def save(self, folder: str | Path) -> list[Path]:
        """Writes report.html."""
        return [self.write(Path(folder) / "report.html")]

    def write(self, path: str | Path) -> Path:
        """Writes only the page, atomically. The name must end in .html."""
        path = Path(path)
        check_ending(path)
        # A file name may hold bytes that are no UTF-8; they are shown as they can be.
        write_atomic(path, self.html.encode("utf-8", errors="replace"))
        return path

    def save_figures(self, folder: str | Path) -> list[Path]:
        """Writes the figures of the page as FOLDER/NAME.png, .svg and .pdf."""
        return save_figures(self.figures, folder)

    def _repr_html_(self) -> str:
        page = escape(self.html.encode("utf-8", errors="replace").decode("utf-8"))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 45rem; border: 0"></iframe>'


def check_ending(path: Path) -> None:
    """Raises InputError for a page whose name no browser would know as one."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            f"unknown ending {path.suffix!r}: a report is a {ENDINGS[0]} file",
            field="out",
            value=path,
        )


def make_report(
    context: Context,
    *,
    title: str = "A map of language models",
    lead: str = "",
    notes: Sequence[str] = (),
    further: Sequence[Section] = (),
) -> Report:
    """Makes the page about everything in a store.

    `title`, `lead` and `notes` (paragraphs under the methods) are plain text; `further` sections
    stand before the last one, the methods. The page loads no
    other files: style, figures, data and, if there is a map, plotly.js (4.7 MB) are inside it.
    """
    view = View(context, notes)
    sections = [found for section in SECTIONS if (found := section(view)) is not None]
    if further:
        sections[-1:-1] = further
    first, *others = [_section(one) for one in sections]
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(lead)}</p>' if lead else "",
        first,
        _contents(sections),
        *others,
    ]
    numbers = itertools.count(1)
    body = [re.sub(FIGURE, lambda _: f"Figure {next(numbers)}.", part) for part in body]
    html = page_of(title, body, script(view.interactive))
    return Report(html, Figures({one.name: one.figure for one in _pictures(sections)}), view)


def page_of(title: str, body: Sequence[str], script: str = "") -> str:
    """The whole page around the parts of its body, which are HTML; empty ones are left out."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + f"\n</main>\n{script}</body>\n</html>\n"
    )


def _pictures(sections: Sequence[Section]) -> Iterator[Picture]:
    for one in sections:
        yield from one.pictures


def _contents(sections: Sequence[Section]) -> str:
    """Links to the sections."""
    items = "".join(
        f'<li><a href="#{one.anchor}">{escape(one.title)}</a></li>' for one in sections if one.title
    )
    return f'<nav aria-label="contents"><ul>{items}</ul></nav>'


def _section(one: Section) -> str:
    figures = "".join(_figure(picture) for picture in one.pictures)
    if not one.title:
        return one.html + figures
    kind = f' class="{one.kind}"' if one.kind else ""
    title = f'<a href="#{one.anchor}">{escape(one.title)}</a>'
    return f'<section id="{one.anchor}"{kind}><h2>{title}</h2>{one.html}{figures}</section>'


def _figure(picture: Picture) -> str:
    svg = inline_svg(svg_of(picture.figure), f"figure-{picture.name}")
    return (
        f'<figure aria-label="{escape(picture.title)}">'
        f'<div class="wide">{svg}</div>'
        f"<figcaption>{FIGURE} {escape(picture.caption)}</figcaption></figure>"
    )
