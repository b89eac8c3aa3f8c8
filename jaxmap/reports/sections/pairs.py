"""KL between every two models of a store, where these are few."""

from __future__ import annotations

from jaxmap.figures.captions import RAW
from jaxmap.figures.digits import with_error
from jaxmap.reports.section import Picture, Section, csv_link, table
from jaxmap.reports.view import View

FEWEST, MOST = 3, 40  # models
MOST_DRAWN = 12  # models whose square is drawn; the heat map of the page has more
MOST_PAIRS = 20
TITLE = "Pairs of models"


def section(view: View) -> Section | None:
    """The nearest pairs with their errors, and a figure of all; None for two models or many.

    Pairs with the same scores, at a KL of 0, are only in the file and the figure.
    """
    if not FEWEST <= len(view.nearest.models) <= MOST:
        return None
    found = view.nearest.kl_table()
    measured = zip(found.pairs_P2.tolist(), found.kl, found.standard_error, strict=True)
    nearest = sorted((row for row in measured if row[1] > 0), key=lambda row: row[1])
    if not nearest:
        return None
    rows = [
        (view.names[i], view.names[j], with_error(kl, error))
        for (i, j), kl, error in nearest[:MOST_PAIRS]
    ]
    more = (
        f" The {len(rows)} nearest of {len(found.kl)} pairs; the file has all."
        if len(found.kl) > len(rows)
        else ""
    )
    html = (
        "<p>Nearest first, in bits per byte (± one standard error with the texts as the sample). "
        f"{RAW}{more}</p>"
        + table(
            ("model", "and", "KL, bits per byte"), rows, numbers_from=2,
            download=csv_link("kl", found.columns, found.rows()),
        )
    )  # fmt: skip
    caption = (
        "KL divergence between every two models in bits per byte; the darker, the larger, on a "
        f"logarithmic scale. {RAW}"
    )
    drawn = found.draw().items() if len(found.labels) <= MOST_DRAWN else ()
    return Section(TITLE, html, tuple(Picture(name, TITLE, one, caption) for name, one in drawn))
