"""The KL heat map that the page's script draws."""

from __future__ import annotations

from jaxmap.reports.heat_map import words
from jaxmap.reports.section import FIGURE, Section
from jaxmap.reports.view import View


def section(view: View) -> Section | None:
    """The elements that the script fills; None for fewer than three models."""
    drawn = view.interactive["heat"]
    if not drawn:
        return None
    return Section(
        "KL between all models",
        '<div id="heat-plot" class="plot square"></div><div id="heat-tip" hidden></div>'
        f'<p class="note">{FIGURE} {words(drawn)}</p>',
    )
