"""The models of the store: bits per byte, the nearest of the others, the parent."""

from __future__ import annotations

from html import escape

from jaxmap.analysis.nearest_models import NearestModels
from jaxmap.analysis.runs import size_of
from jaxmap.figures.captions import RAW
from jaxmap.figures.digits import with_error
from jaxmap.reports.section import Section, csv_link, table
from jaxmap.reports.view import View

MOST = 25  # rows on the page; the file has all
MOST_SAME = 10  # groups of names with the same scores


def section(view: View) -> Section | None:
    """A row a model, the fewest bits per byte first; None for an empty store."""
    found = view.nearest
    if not found.models:
        return None
    shown = sorted(range(len(found.models)), key=lambda k: _order(found, k))[:MOST]
    has_parents = any(one.parent for one in found.models)
    has_bits = view.context.has_losses
    has_sizes = any(size_of(one.entry) is not None for one in found.models)
    heads = (
        "model",
        *(["parameters"] if has_sizes else []),
        *(["bits per byte"] if has_bits else []),
        "nearest",
        "KL to it",
        *(["made from", "KL to that"] if has_parents else []),
    )
    rows = [
        (
            view.names[k],
            *([_parameters(found, k)] if has_sizes else []),
            *([with_error(found.bits_K[k], found.bits_error_K[k])] if has_bits else []),
            *_other(view, int(found.nearest_K[k]), "", found.kl_K[k], found.kl_error_K[k]),
            *(
                _other(
                    view, int(found.parent_K[k]), found.models[k].parent,
                    found.parent_kl_K[k], found.parent_error_K[k],
                )
                if has_parents
                else ()
            ),
        )
        for k in shown
    ]  # fmt: skip
    more = (
        f" The first {len(shown)} of {len(found.models):,}; the file has all."
        if len(shown) < len(found.models)
        else ""
    )
    order = "best first" if has_bits else "by name"
    html = (
        f"<p>Models, the last checkpoint of each training run, and copies in fewer bits, {order}. "
        "Bits per byte: what a byte of the texts costs (less is better; raw text takes 8). KL in "
        f"bits per byte. ± is one standard error with the texts as the sample. {RAW}{more}</p>"
        + table(
            heads,
            rows,
            words=[i for i, head in enumerate(heads) if head in ("nearest", "made from")],
            download=csv_link("nearest", found.columns, found.rows()),
        )
        + _same(view)
    )
    return Section("The models", html)


def _same(view: View) -> str:
    """Which rows are the same scores under several names; "" where there are none."""
    groups = view.nearest.same
    if not groups:
        return ""
    names = [" = ".join(view.names[k] for k in rows) for rows in groups[:MOST_SAME]]
    more = f"; and {len(groups) - MOST_SAME:,} more" if len(groups) > MOST_SAME else ""
    return (
        "<p>The same scores under several names, at a KL of 0, which is passed over where the "
        f"page names the nearest: {escape('; '.join(names))}{more}.</p>"
    )


def _order(found: NearestModels, k: int) -> tuple[bool, float, int]:
    bits = float(found.bits_K[k])
    return bits != bits, bits if bits == bits else 0.0, k


def _parameters(found: NearestModels, k: int) -> str:
    """As recorded, or about what the name says."""
    entry = found.models[k].entry
    if known := entry.provenance.model.get("num_parameters"):
        return f"{float(known):,.0f}"
    return f"≈ {entry.name.size_word.upper()}" if entry.name.size is not None else "–"


def _other(view: View, row: int, name: str, kl: float, error: float) -> tuple[str, str]:
    """Another model and the KL to it; its name alone where it is not on the page."""
    if row < 0:
        return name or "–", "–"
    return view.names[row], with_error(kl, error)
