"""The maps and the KL heat map that the page's script draws."""

from __future__ import annotations

from jaxmap.reports import interactive
from jaxmap.reports.section import Section
from jaxmap.reports.view import View


def section(view: View) -> Section:
    """The elements that the script fills."""
    return Section(interactive.elements(view.interactive))
