"""The tables of a comparison on a page: models, layers, parts of the tokens, texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from jaxmap.comparison.details import ALL
from jaxmap.comparison.estimates import percent
from jaxmap.figures.digits import number, with_error
from jaxmap.reports.section import table

if TYPE_CHECKING:
    from jaxmap.comparison.table import Compared, Comparison

_GROUPS = {"token:": "token", "confidence": "confidence"}  # by the first word of a subset
_MOST_TEXTS = 5  # of a model


def models_table(found: Comparison) -> str:
    """A row per model: both KLs with their errors, the change in bits per byte, the floor."""
    with_floors = any(one.floor is not None for one in found.compared)
    heads = ["model", "format", "bits per weight", "token KL, nats", "its 99 % quantile",
             "same top token", "Δ bits per byte", "KL, bits per byte",
             *(["floor of token KL"] if with_floors else [])]  # fmt: skip
    rows = []
    for name, one in _named(found):
        if one.layer is None:
            row = one.row
            floor = number(float("nan")) if one.floor is None else with_error(*one.floor.token_kl)
            floors = [floor] if with_floors else []
            rows.append([
                name, row.format, number(row.bits_per_weight), *_divergences(one)[:1],
                number(row.token_kl_p99), *_divergences(one)[1:], *floors,
            ])  # fmt: skip
    return table(heads, rows, numbers_from=2)


def layers_table(found: Comparison) -> str:
    """A row per layer that was read through a lens; "" if none was."""
    heads = ["layer", "token KL, nats", "same top token", "Δ bits per byte", "KL, bits per byte"]
    rows = [[name, *_divergences(one)] for name, one in _named(found) if one.layer is not None]
    return table(heads, rows) if rows else ""


def _divergences(one: Compared) -> list[str]:
    row = one.row
    return [
        with_error(row.token_kl_nats, row.token_kl_standard_error),
        percent(row.same_top_token),
        with_error(*one.delta_bits_per_byte, signed=True),
        with_error(row.kl_bits_per_byte, row.kl_standard_error),
    ]


def parts_tables(found: Comparison) -> Iterator[tuple[str, str]]:
    """Titles and tables of parts of the tokens: a row per part, a column per model."""
    models = [(name, one) for name, one in _named(found) if one.layer is None]
    subsets = list(dict.fromkeys(d.subset for _, one in models for d in one.details))
    groups = {
        "By field of the texts": [s for s in subsets if _group(s) == "field"],
        "By kind of token": [s for s in subsets if _group(s) == "token"],
        "By the reference's highest probability": [s for s in subsets if _group(s) == "confidence"],
    }
    for title, names in groups.items():
        tables = [
            _parts_table(
                names, [pair for pair in models if bool(pair[1].other_tokens) == aligned], *of
            )
            for aligned, of in (
                (False, ("token_kl", "token KL, nats")),
                (True, ("delta_bits_per_byte", "\u0394 bits per byte")),
            )
        ]
        if any(tables):
            yield title, "".join(tables)


def _parts_table(
    subsets: Sequence[str], models: Sequence[tuple[str, Compared]], statistic: str, head: str
) -> str:
    of = [{d.subset: d for d in one.details if d.statistic == statistic} for _, one in models]
    rows = []
    for subset in subsets:
        cells = [known.get(subset) for known in of]
        there = [(c, one) for c, (_, one) in zip(cells, models, strict=True) if c is not None]
        if not there:
            continue
        fraction = there[0][0].tokens / there[0][1].row.tokens
        share = percent(fraction) if fraction >= 0.0005 else "< 0.1%"
        values = [
            number(float("nan")) if c is None else with_error(c.value, c.standard_error)
            for c in cells
        ]
        rows.append([subset.removeprefix("token: ").removeprefix("confidence "), share, *values])
    if not rows:
        return ""
    return table([head, "of tokens", *(name for name, _ in models)], rows)


def _group(subset: str) -> str:
    return "" if subset == ALL else _GROUPS.get(subset.split(" ", 1)[0], "field")


def texts_table(found: Comparison) -> str:
    """The texts that differ most, and in each the tokens that do; "" if none are known."""
    heads = ["model", "text", "mean", "in its worst tokens", "which are"]
    rows = []
    for name, one in _named(found):
        if one.layer is not None:
            continue
        for text in one.worst[:_MOST_TEXTS]:
            if one.other_tokens:
                mean, span = "\u2013", f"{number(text.span_delta_nats)} nats"
            else:
                mean = f"{number(text.token_kl_nats)} nats"
                span = f"{number(text.span_kl_nats)} nats"
            rows.append([name, str(text.text), mean, span, _one_line(text.span)])
    return table(heads, rows, words={4}) if rows else ""


def _one_line(span: str) -> str:
    shown = " ".join(span.split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _named(found: Comparison) -> list[tuple[str, Compared]]:
    """The models with names that are as short as they can be."""
    return list(zip(found.names[1], found.compared, strict=True))


def paragraph(text: str) -> str:
    """A note under a table."""
    return f'<p class="note">{escape(text)}</p>'
