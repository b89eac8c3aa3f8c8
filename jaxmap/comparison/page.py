"""compare.html: one self-contained page about a comparison, with texts token by token."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from jaxmap.comparison.coloured_texts import coloured_texts
from jaxmap.comparison.coloured_texts_script import SCRIPT, STYLE
from jaxmap.comparison.page_tables import layers_table, models_table, parts_tables
from jaxmap.comparison.token_views import SHOWN
from jaxmap.figures.captions import RAW
from jaxmap.reports.page import page_of

if TYPE_CHECKING:
    from jaxmap.comparison.table import Comparison


def page_about(found: Comparison) -> str:
    """The page, which loads nothing. Texts are shown for each model whose tokens were examined."""
    first = found.found[0]
    name, _ = found.names
    title = f"Beside {name}, token by token"
    layers = layers_table(found)
    body = [
        STYLE,
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">The reference is {escape(name)}: {first.texts:,} texts, '
        f"{first.tokens:,} tokens; text set "
        f"<code>{escape(found.texts_fingerprint[:16])}</code>. {RAW}</p>",
        "<h2>Models</h2>",
        models_table(found),
        f"<h2>Layers</h2>{layers}" if layers else "",
        *(f"<h2>{escape(head)}</h2>{tables}" for head, tables in parts_tables(found)),
        "<h2>Texts that differ most, and one in the middle</h2>",
        coloured_texts(found, SHOWN + 1),
        f"<p class=note><code>{escape(found.command)}</code></p>" if found.command else "",
    ]
    return page_of(title, body, SCRIPT)
