"""The head of the page: what was scored, on which texts, and the main results."""

from __future__ import annotations

from collections import Counter
from html import escape

import numpy as np

from jaxmap.figures.captions import RAW
from jaxmap.figures.digits import with_error
from jaxmap.reports.section import Section
from jaxmap.reports.view import View
from jaxmap.store.record import Entry


def section(view: View) -> Section:
    """Models and texts in a sentence, the nearest two, and numbers."""
    store, entries = view.store, view.context.entries
    kinds = Counter(_kind(entry) for entry in entries)
    parts = [_counted(kinds[kind], *words) for kind, words in _WORDS.items() if kinds[kind]]
    texts = store.texts
    asked = (
        f"<p>{escape(_listed(parts) or 'Nothing yet')} scored on {len(texts.text_bytes):,} texts "
        f"of <code>{escape(texts.source)}</code>, {texts.mean_bytes:,.1f} bytes each on average."
        f"{_nearest(view)}</p>"
    )
    facts = [
        ("results", f"{len(entries):,}"),
        ("training runs", f"{len(view.learning.curves):,}"),
        ("models compared", f"{len(view.nearest.models):,}"),
        ("texts", f"{len(texts.text_bytes):,}"),
        ("kB of text", f"{int(texts.text_bytes.sum()) / 1e3:,.0f}"),
        ("failed", f"{len(store.failures()):,}"),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    return Section(html=f'{asked}<dl class="facts">{cells}</dl>')


_WORDS = {
    "checkpoint": ("checkpoint", "checkpoints"),
    "model": ("model", "models"),
    "copy": ("copy in fewer bits", "copies in fewer bits"),
    "precision": ("result in another precision", "results in other precisions"),
    "layer": ("layer", "layers"),
}


def _kind(entry: Entry) -> str:
    if entry.variant.is_layer:
        return "layer"
    if entry.variant.is_quantised or entry.bits is not None:
        return "copy"
    if not entry.variant.is_plain:
        return "precision"
    return "model" if entry.name.time is None else "checkpoint"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _nearest(view: View) -> str:
    """The nearest two, and of two models alone their KL.

    Rows with the same scores are one model under several names, which `sections.models` lists.
    """
    found = view.nearest
    # A copy beside its own base would be the nearest two of any store.
    rows = [k for k, one in enumerate(found.models) if one.kind != "copy"]
    if len(rows) < 2:
        rows = list(range(len(found.models)))
    if len(rows) < 2:
        return ""
    kl_KK = found.kl_KK[np.ix_(rows, rows)]
    if not (kl_KK > 0).any():
        which = "The two" if len(rows) == 2 else "All"
        return f" {which} have the same scores on every text: their KL is 0. {RAW}"
    apart_KK = np.where(kl_KK > 0, kl_KK, np.inf)
    i, j = (rows[k] for k in np.unravel_index(apart_KK.argmin(), apart_KK.shape))
    names = view.names[i], view.names[j]
    pair = found.kl_table([i, j])
    of = "The KL between" if len(rows) == 2 else "The nearest two models are"
    kl = with_error(float(pair.kl[0]), float(pair.standard_error[0]))
    tail = f" is {kl} bits per byte" if len(rows) == 2 else f", at a KL of {kl} bits per byte"
    both = " and ".join(f"<b>{escape(name)}</b>" for name in names)
    return f" {of} {both}{tail} (± one standard error over texts). {RAW}"
