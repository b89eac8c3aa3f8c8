"""SVG files as parts of the page."""

from __future__ import annotations

import re

from jaxmap.figures.style import FAINT, INK, PALETTE


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG file's picture for use inside a page, in the page's own colours.

    Drops the XML head, metadata and background, makes ids unique by the prefix, and replaces the
    ink of text and axes by the page's, which is light on dark paper.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = svg.replace("fill: #ffffff", "fill: none")
    svg = svg.replace("stroke: #ffffff", "stroke: var(--paper)")
    svg = svg.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    svg = svg.replace(PALETTE[0].lower(), "var(--blue)")  # too dark for dark paper
    svg = svg.replace(PALETTE[-1].lower(), "var(--sixth)")  # too like the blue on dark paper
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'DejaVu Sans', sans-serif", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns(:\w+)?|version)="[^"]*"', "", head)
    return f'{head} role="img">{rest}'
