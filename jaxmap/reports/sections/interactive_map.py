"""The maps that the page's script draws."""

from __future__ import annotations

from html import escape

from jaxmap.analysis.maps import COLUMNS
from jaxmap.reports.section import FIGURE, Section, csv_link
from jaxmap.reports.view import View

_CONTROLS = (
    '<div class="controls">'
    '<label>map <select id="map-which"></select></label>'
    '<label>by <select id="map-method"></select></label>'
    '<label>colour <select id="map-color"></select></label>'
    '<label>find <input id="map-search" type="search" list="map-names" '
    'placeholder="a model" autocomplete="off"></label>'
    '<datalist id="map-names"></datalist></div>'
    '<div class="controls" id="map-time">'
    '<button id="map-play" type="button" aria-label="play the training">▶ play</button>'
    '<label class="grow">training <input id="map-step" type="range" min="0" step="1"></label>'
    '<output id="map-now"></output></div>'
)


def section(view: View) -> Section | None:
    """The elements that the script fills; None without a map."""
    if not view.interactive["maps"]:
        return None
    frame = view.atlas.to_dataframe()
    rows = list(frame.itertuples(index=False, name=None))
    return Section(
        "The map",
        "<p>Models that predict the texts alike lie together. Drag to move; zoom with Ctrl and the "
        "wheel, two fingers or the buttons; hover or tap for names, and the KL to the nearest "
        "model of the same map.</p>"
        f"{_CONTROLS}"
        '<div id="map-plot" class="plot"></div><div id="map-keys" class="keys"></div>'
        '<p class="note" id="map-found" aria-live="polite"></p>'
        f'<p class="note">{FIGURE} <span id="map-said"></span> The KL to the nearest is of raw '
        "scores. t-SNE keeps neighbours together, and distances across it say little; in principal "
        "components squared distances are KL, as far as two dimensions hold them.</p>"
        + (csv_link("coordinates", COLUMNS, rows) or _by_command("map", "coordinates.csv")),
    )


def _by_command(command: str, file: str) -> str:
    return f'<p class="files"><code>jaxmap {escape(command)}</code> writes {escape(file)}.</p>'
