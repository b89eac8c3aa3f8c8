"""The sections of `jaxmap report` about what a store has compared token by token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from jaxmap.comparison import stored_comparison
from jaxmap.comparison.coloured_texts import coloured_texts
from jaxmap.comparison.coloured_texts_script import SCRIPT, STYLE
from jaxmap.comparison.page_tables import (
    layers_table,
    models_table,
    paragraph,
    parts_tables,
    texts_table,
)
from jaxmap.comparison.sides import INSTEAD
from jaxmap.comparison.store_card import collect
from jaxmap.comparison.table import Comparison
from jaxmap.figures import kl_and_size, kl_by_layer
from jaxmap.figures.captions import RAW
from jaxmap.figures.digits import with_error
from jaxmap.reports.model_names import shown_names
from jaxmap.reports.section import Picture, Section
from jaxmap.store import Store

MOST_TEXTS = 3  # of a model that are shown token by token: compare.html has more
MOST_MODELS = 12  # that have texts token by token


def sections_of(store: Store) -> tuple[Section, ...]:
    """A section for each reference that models were compared with in this store; no model is read.

    Raises InputError if a file of a comparison is damaged.
    """
    pairs = [pair for pair, _ in stored_comparison.all_pairs(store.path) if not pair.is_floor]
    references = list(dict.fromkeys(pair.reference for pair in pairs))
    compared = [collect(store, name) for name in references]
    coloured = [coloured_texts(found, MOST_TEXTS, MOST_MODELS) for found in compared]
    last = max((n for n, html in enumerate(coloured) if html), default=-1)
    shown = shown_names(references)
    sections = []
    for n, (found, name, anchor) in enumerate(zip(compared, shown, _anchors(shown), strict=True)):
        # One script, after the last block, serves all of them.
        texts = f"{STYLE}{coloured[n]}" if coloured[n] else ""
        texts += SCRIPT if n == last else ""
        sections.append(_section(found, name, anchor, n + 1, texts))
    return tuple(sections)


def _anchors(names: Sequence[str]) -> list[str]:
    """A link for each, numbered where names differ only in other characters than a-z and 0-9."""
    made = [f"token-by-token-beside-{re.sub(r'[^a-z0-9]+', '-', n.lower())}" for n in names]
    counts = Counter(made)
    return [
        anchor if counts[anchor] == 1 else f"{anchor}-{number}"
        for number, anchor in enumerate(made, 1)
    ]


def _section(found: Comparison, name: str, anchor: str, number: int, texts: str) -> Section:
    first = found.found[0]
    words = [
        f"<p>At every token of {first.texts:,} texts the next-token distributions of two models "
        "are compared over the whole vocabulary: token KL is the mean of KL(reference || model). "
        "It is another quantity than the KL over texts of this page, which stands in the column "
        f"beside. ± is one standard error over texts. The reference is {escape(name)}. "
        f"{RAW}</p>",
        models_table(found),
    ]
    if (floor := found.reference_floor) is not None:
        said = f"token KL {with_error(*floor.token_kl)} nats, which is what rounding alone does."
        words.append(paragraph(f"The reference beside itself in {floor.dtype}: {said}"))
    for short, one in zip(found.names[1], found.compared, strict=True):
        if one.other_tokens and one.layer is None:
            why = found.why_no_token_kl(one)
            words.append(paragraph(f"{short} has no token KL: it {why}. {INSTEAD}"))
    if layers := layers_table(found):
        words.append(_folded("Layers", layers))
    words += [_folded(head, tables) for head, tables in parts_tables(found)]
    if worst := texts_table(found):
        words.append(_folded("Texts that differ most", worst))
    words.append(texts)
    pictures = tuple(_pictures(found, name, number))
    return Section(f"Token by token beside {name}", "".join(words), pictures, name=anchor)


def _folded(title: str, html: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


def _pictures(found: Comparison, name: str, number: int) -> Iterator[Picture]:
    if (sizes := kl_and_size.draw(found)) is not None:
        yield Picture(
            f"{found.figure_name}_{number}",
            f"KL from {name} and size",
            sizes,
            "Each point is a model: the size of its weights and its KL from the reference, "
            "per token (left) and over texts (right); bars are one standard error. The line "
            "joins those that no other beats in both; the dashed line is what rounding alone "
            f"does, where it was measured. {RAW}",
        )
    if (layers := kl_by_layer.draw(found)) is not None:
        yield Picture(
            f"kl_by_layer_{number}",
            f"KL from {name} by layer",
            layers,
            "What each layer predicts through the lens, beside what the reference predicts: KL per "
            "token (left) and over texts (right), from the embedding (0) to the model's own "
            f"output; bands are one standard error. {RAW}",
        )
