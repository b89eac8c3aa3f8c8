"""The numbers at the head of the page: how much was measured."""

from __future__ import annotations

from html import escape

from jaxmap.reports.section import Section
from jaxmap.reports.view import View


def section(view: View) -> Section:
    """Results, training runs, texts, failures."""
    store = view.store
    facts = [
        ("results", f"{len(view.context.entries):,}"),
        ("training runs", f"{len(view.learning.curves):,}"),
        ("texts", f"{len(store.texts.text_bytes):,}"),
        ("bytes a text, mean", f"{store.texts.mean_bytes:,.1f}"),
        ("kB of text", f"{int(store.texts.text_bytes.sum()) / 1e3:,.0f}"),
        ("failed", f"{len(store.failures()):,}"),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    return Section(f'<dl class="facts">{cells}</dl>')
