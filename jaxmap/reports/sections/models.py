"""KL between the models of a store that are no checkpoints, where these are few."""

from __future__ import annotations

from jaxmap.reports.section import Picture, Section, table
from jaxmap.reports.view import View

MOST_PAIRS = 20


def section(view: View) -> Section | None:
    """The nearest pairs with their errors, and a figure of all; None for one model or many."""
    found = view.models
    if found is None:
        return None
    measured = zip(found.pairs_P2.tolist(), found.kl, found.standard_error, strict=True)
    nearest = sorted(measured, key=lambda row: row[1])
    names = found.labels
    rows = [
        (names[i], names[j], f"{kl:.3g} ± {error:.1g}")
        for (i, j), kl, error in nearest[:MOST_PAIRS]
    ]
    more = f" The {MOST_PAIRS} nearest of {len(nearest)} pairs." if len(nearest) > len(rows) else ""
    html = (
        "<h2>KL between models</h2><p>Nearest first, in bits per byte (± one standard error over "
        f"texts), on raw scores.{more}</p>"
        + table(("model", "and", "KL, bits per byte"), rows, numbers_from=2)
    )
    caption = (
        "KL divergence between every two models in bits per byte, on raw scores; the darker, the "
        "larger, on a logarithmic scale."
    )
    drawn = found.draw().items() if len(names) > 2 else ()
    return Section(
        html, tuple(Picture(name, "KL between models", one, caption) for name, one in drawn)
    )
