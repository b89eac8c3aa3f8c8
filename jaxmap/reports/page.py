"""One self-contained HTML page about a store: opens offline, in light and dark, on a phone."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from jaxmap.analysis.context import Reading
from jaxmap.analysis.learning import between_finals, learning_of
from jaxmap.analysis.map_files import paths_of
from jaxmap.analysis.maps import make_atlas
from jaxmap.atomic import write_atomic
from jaxmap.figures.style import FAINT, INK, PALETTE
from jaxmap.reports.css import CSS, POLICY
from jaxmap.reports.figures import Picture, draw_pictures
from jaxmap.reports.interactive import payload, script, section
from jaxmap.reports.precision_section import precision_section
from jaxmap.reports.sections import (
    ask_nobody,
    diffusion_section,
    dropped_section,
    finals_section,
    learning_section,
    paths_section,
    scale_of,
    scale_section,
)
from jaxmap.stats.clean import WARMUP
from jaxmap.store import Store
from jaxmap.store.record import Entry
from jaxmap.version import __version__

MOST_FINALS = 12  # runs whose final models are compared on the page
MOST_FAILED = 50

MAPS = (
    "<p>Maps show the vectors after cleaning and double centring. Training runs: bad runs and "
    "checkpoints are left out, scores are clipped from below at their 2 % quantile, and the 3 % "
    "of texts that jump most between checkpoints are dropped; all others are clipped at the 2 % "
    "quantile of the models. t-SNE is scikit-learn's (init pca, learning rate auto, random state "
    "42, perplexity 30, for parents and children 20). KL to the nearest model is on the cleaned "
    "vectors.</p>"
)


def write_report(
    store: Store,
    out: str | os.PathLike[str],
    *,
    title: str = "A map of language models",
    lead: str = "",
    notes: Sequence[str] = (),
    warmup: int = WARMUP,
    reading: Reading | None = None,
) -> Path:
    """Write the page OUT about everything in a store, whole or not at all.

    title, lead and notes (paragraphs under the methods) are plain text. Figures are drawn into
    OUT's folder `figures` too. `warmup` is in training steps; `reading` is of this store with this
    warmup, where the caller has one. The page loads nothing: style, figures, data and plotly.js
    (4.7 MB) are inside it, the script only where there is a map.
    """
    out = Path(out)
    folder = out.parent / "figures"
    reading = reading or Reading(store, warmup)
    atlas = make_atlas(store, ask=ask_nobody, reading=reading)
    curves = learning_of(reading)
    pictures = draw_pictures(atlas.pretraining, curves, folder)
    drawn = payload(reading, atlas)
    paths = paths_of(atlas.pretraining) if atlas.pretraining is not None else []
    measured = scale_of(reading)
    scale, scale_picture, scale_notes = scale_section(measured, folder)
    diffusion, diffusion_picture, diffusion_notes = diffusion_section(reading, folder)
    finals = between_finals(reading, MOST_FINALS) if len(curves) > 1 else None
    numbers = iter(range(1, 100))
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(lead)}</p>' if lead else "",
        _measured(reading, len(curves)),
        section(drawn),
        learning_section(curves, reading) if curves else "",
        *(_figure(next(numbers), picture) for picture in pictures),
        scale,
        _figure(next(numbers), scale_picture) if scale_picture else "",
        diffusion,
        _figure(next(numbers), diffusion_picture) if diffusion_picture else "",
        paths_section(paths),
        finals_section(finals, len(curves) - len(finals.runs)) if finals else "",
        precision_section(store, reading.entries, measured),
        _failures(store),
        dropped_section(atlas, [*scale_notes, *diffusion_notes]),
        _methods(reading, notes, interactive=bool(drawn["maps"])),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n"
        + (script(drawn) if drawn["maps"] or drawn["heat"] else "")
        + "</body>\n</html>\n"
    )
    # A file name may hold bytes that are no UTF-8; they are shown as they can be.
    write_atomic(out, page.encode("utf-8", errors="replace"))
    return out


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
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'DejaVu Sans', sans-serif", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns(:\w+)?|version)="[^"]*"', "", head)
    return f'{head} role="img">{rest}'


def _measured(reading: Reading, num_runs: int) -> str:
    store = reading.store
    facts = [
        ("results", f"{len(reading.entries):,}"),
        ("training runs", f"{num_runs:,}"),
        ("texts", f"{len(store.texts.text_bytes):,}"),
        ("bytes a text, mean", f"{store.texts.mean_bytes:,.1f}"),
        ("kB of text", f"{int(store.texts.text_bytes.sum()) / 1e3:,.0f}"),
        ("failed", f"{len(store.failures()):,}"),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    return f'<dl class="facts">{cells}</dl>'


def _figure(number: int, picture: Picture) -> str:
    return (
        f"<h2>{escape(picture.title)}</h2>"
        f'<figure aria-label="{escape(picture.title)}">'
        f'<div class="wide">{inline_svg(picture.svg, f"figure{number}")}</div>'
        f"<figcaption>Figure {number}. {escape(picture.caption)}</figcaption></figure>"
    )


def _failures(store: Store) -> str:
    failed, missing = store.failures(), store.missing()
    if not failed and not missing:
        return ""
    lines = [
        f"<li><code>{escape(one.item.label)}</code>: {escape(one.reason)}</li>"
        for one in failed[:MOST_FAILED]
    ]
    if len(failed) > MOST_FAILED:
        lines.append(f"<li>and {len(failed) - MOST_FAILED} more</li>")
    unscored = f"<p>Asked for and not scored yet: {len(missing)}.</p>"
    return (
        '<section class="failed"><h2>What failed</h2>'
        f"<ul>{''.join(lines)}</ul>{unscored if missing else ''}</section>"
    )


def _methods(reading: Reading, notes: Sequence[str], interactive: bool) -> str:
    store, entries = reading.store, reading.entries
    versions: dict[str, set[str]] = {}
    for entry in entries:
        for name, version in entry.provenance.versions.items():
            versions.setdefault(name, set()).add(version)
    truncated = max((entry.provenance.truncated for entry in entries), default=0)
    apart = max((entry.provenance.apart for entry in entries), default=0)
    facts = [
        ("texts", f"{store.texts.source}, sha256 {store.texts.fingerprint}"),
        ("tokenizers", _listed(f"sha256 {one}" for one in {e.identity.tokenizer for e in entries})),
        ("special tokens", _listed({e.identity.special_rule for e in entries})),
        ("dtype", _listed({e.identity.variant.precision for e in entries})),
        ("device", _listed({e.provenance.device for e in entries})),
        ("cut to the context", f"at most {truncated:,} of the texts of a model"),
        *([("tokenised apart", f"at most {apart:,} responses of a model")] if apart else ()),
        (
            "versions",
            ", ".join(f"{name} {_listed(found)}" for name, found in sorted(versions.items())),
        ),
        ("results", f"sha256 {_hash_of(entries)} of what each depends on"),
        ("page by", f"jaxmap {__version__}"),
    ]
    rows = "".join(
        f"<tr><th>{escape(name)}</th>"
        f'<td style="white-space: normal"><code>{escape(value)}</code></td></tr>'
        for name, value in facts
        if value
    )
    extra = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        "<h2>Methods</h2>"
        "<p>The log-likelihood ℓ(text) of a text is the sum of the natural logarithms of the "
        "probabilities that a model gives to its tokens, each after the tokens before it; the "
        "first token is a condition and is not scored. The KL divergence of two models is "
        "estimated as Var(ℓ₁ − ℓ₂) / (2 B ln 2) over the texts, with B their mean length in bytes "
        "(Oyama et al., ACL 2025, arXiv 2502.16173; Kishino et al., 2026, arXiv 2505.15353), in "
        "bits per byte; its standard error has the texts as the sample and is "
        "√((m₄ − m₂²) / N) in the same units, with m₂ and m₄ the central moments of ℓ₁ − ℓ₂. "
        "Bits per byte of one model are −Σℓ / (ln 2 · Σ bytes).</p>"
        f"{MAPS if interactive else ''}"
        f'{extra}<div class="wide"><table>{rows}</table></div>'
    )


def _hash_of(entries: Sequence[Entry]) -> str:
    """Of the identities of all results: commits, texts, tokenizers, dtypes, layers."""
    return hashlib.sha256("".join(entry.identity.key for entry in entries).encode()).hexdigest()


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(value for value in values if value))
