"""How the numbers of the page were made, and what they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from jaxmap.analysis.recipes import Recipe
from jaxmap.reports.methods_text import PUBLISHED
from jaxmap.reports.section import Section, csv_link, percent
from jaxmap.reports.view import View
from jaxmap.stats.clean import FLOOR, JUMPY
from jaxmap.stats.embed import PERPLEXITY, PERPLEXITY_FAMILIES, SEED
from jaxmap.store.record import Entry
from jaxmap.version import __version__

_JAXMAP = (
    "<p>By jaxmap's own recipe. "
    "Maps show the vectors after cleaning and double centring. Training runs: bad runs and "
    f"checkpoints are left out, scores are clipped from below at their {percent(FLOOR)} quantile, "
    f"and the {percent(JUMPY)} of texts that jump most between checkpoints are dropped; all others "
    f"are clipped at the {percent(FLOOR)} quantile of the models. t-SNE is scikit-learn's (init "
    f"pca, learning rate auto, random state {SEED}, perplexity {PERPLEXITY:g}, for parents and "
    f"children {PERPLEXITY_FAMILIES:g}).</p>"
)
MAPS: dict[Recipe, str] = {
    "jaxmap": _JAXMAP,
    "published": f"<p>By the published recipe. {escape(PUBLISHED)}</p>",
}


def section(view: View) -> Section:
    """Definitions, and the facts of the store: hashes, precisions, devices, versions."""
    store, entries = view.store, view.context.entries
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
        (
            "cut to the context",
            f"at most {truncated:,} of the texts of a model" if truncated else "no text",
        ),
        *([("tokenised apart", f"at most {apart:,} responses of a model")] if apart else ()),
        (
            "versions",
            ", ".join(f"{name} {_listed(found)}" for name, found in sorted(versions.items())),
        ),
        ("results", f"sha256 {_hash_of(entries)} of what each depends on"),
        ("page by", f"jaxmap {__version__}"),
    ]
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in facts
        if value
    )
    extra = "".join(f"<p>{escape(note)}</p>" for note in view.notes)
    return Section(
        "Methods",
        "<p>The log-likelihood ℓ(text) of a text is the sum of the natural logarithms of the "
        "probabilities that a model gives to its tokens, each after the tokens before it; the "
        "first token is a condition and is not scored. The KL divergence of two models is "
        "estimated as Var(ℓ₁ − ℓ₂) / (2 B ln 2) over the texts, with B their mean length in bytes "
        "(Oyama et al., ACL 2025, arXiv 2502.16173; Kishino et al., 2026, arXiv 2505.15353), in "
        "bits per byte; its standard error has the texts as the sample and is "
        "√((m₄ − m₂²) / N) in the same units, with m₂ and m₄ the central moments of ℓ₁ − ℓ₂. "
        "Bits per byte of one model are −Σℓ / (ln 2 · Σ bytes).</p>"
        f"{MAPS[view.context.recipe] if view.interactive['maps'] else ''}"
        f'{extra}<div class="wide"><table>{rows}</table></div>'
        + csv_link("facts", ("fact", "value"), facts),
    )


def _hash_of(entries: Sequence[Entry]) -> str:
    """Of the identities of all results: commits, texts, tokenizers, dtypes, layers."""
    return hashlib.sha256("".join(entry.identity.key for entry in entries).encode()).hexdigest()


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(value for value in values if value))
