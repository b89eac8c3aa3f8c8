"""Texts whose tokens are coloured by how much two models differ there, as HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.figures.digits import number

if TYPE_CHECKING:
    from jaxmap.comparison.table import Compared, Comparison
    from jaxmap.comparison.token_views import TextView, TokenView


def coloured_texts(found: Comparison, most: int, most_models: int | None = None) -> str:
    """HTML with a few texts of each model, token by token; "" if the comparison has none.

    The page must contain STYLE, and after its last block SCRIPT, of `coloured_texts_script`.

    Args:
      found: the comparison.
      most: the largest number of texts of a model.
      most_models: the largest number of models; of more, those that differ most. None: all.
    """
    chosen = _most_different(found, most_models)
    if not chosen:
        return ""
    names, shown = [name for name, _ in chosen], [one for _, one in chosen]
    rest = sum(bool(one.views) for one in found.compared) - len(shown)
    data = {
        "names": [_measure(one) for one in shown],
        "views": [
            [[_packed(token) for token in view.tokens] for view in one.views[:most]]
            for one in shown
        ],
    }
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return "".join([
        '<div class="coloured"><p class="note">A token is darker the more the two predictions of '
        "it differ. Point at one, or tap it, to see what both models expected there.</p>",
        f'<p class="note">These are the {len(shown)} models that differ most; {rest} more are in '
        "compare.html.</p>" if rest else "",
        *_of_other_tokens(shown, names, found),
        _choice(names),
        *_texts(shown, names, most),
        f'<script type="application/json">{packed}</script></div>',
    ])  # fmt: skip


def _most_different(found: Comparison, most: int | None) -> list[tuple[str, Compared]]:
    """The names and results of the models that have texts token by token, in their order."""
    named = [pair for pair in zip(found.names[1], found.compared, strict=True) if pair[1].views]
    if most is None or len(named) <= most:
        return named
    by_kl = sorted(named, key=lambda pair: pair[1].row.kl_bits_per_byte, reverse=True)
    return [pair for pair in named if pair in by_kl[:most]]


def _measure(one: Compared) -> str:
    """The name of the quantity that the colours show."""
    return "difference" if one.other_tokens else "KL"


def _of_other_tokens(shown: list[Compared], names: list[str], found: Comparison) -> Iterator[str]:
    for one, name in zip(shown, names, strict=True):
        if one.other_tokens:
            yield (
                f'<p class="note">{escape(name)} {escape(found.why_no_token_kl(one))}. Its '
                "texts are cut where tokens of both models end, and darker the more the "
                "log-probabilities of a stretch differ.</p>"
            )


def _scale(one: Compared) -> float:
    """The value of the darkest colour, nats; 2 % of the model's tokens shown are above it."""
    kl = [abs(token.kl) for view in one.views for token in view.tokens]
    return float(np.quantile(kl, 0.98)) if kl and max(kl) > 0 else 1.0


def _shade(kl: float, scale: float) -> str:
    return f"{min(1.0, math.sqrt(abs(kl) / scale)):.2f}" if scale > 0 else "0"


def _legend(scale: float, measure: str) -> str:
    steps = (0.0, 0.1, 0.4, 1.0)
    cells = "".join(
        f'<span style="--k:{_shade(step * scale, scale)}">{number(step * scale, 2)}</span>'
        for step in steps
    )
    return f'<p class="scale">{measure}, nats: {cells}</p>'


def _choice(names: list[str]) -> str:
    if len(names) < 2:
        return ""
    options = "".join(
        f'<option value="{m}">{escape(name)}</option>' for m, name in enumerate(names)
    )
    return f'<div class="controls" hidden><label>Model <select>{options}</select></label></div>'


def _texts(shown: list[Compared], names: list[str], most: int) -> Iterator[str]:
    for m, one in enumerate(shown):
        scale = _scale(one)
        yield f'<section data-model="{m}">'
        if len(shown) > 1:
            yield f"<h3>{escape(names[m])}</h3>"
        yield _legend(scale, _measure(one))
        for x, view in enumerate(one.views[:most]):
            yield _text(view, m, x, scale, aligned=bool(one.other_tokens))
        yield "</section>"


def _text(view: TextView, m: int, x: int, scale: float, *, aligned: bool) -> str:
    total = sum(token.kl for token in view.tokens)
    mean = total / max(1, len(view.tokens))
    tokens = "".join(
        f'<span class="token" data-at="{m} {x} {i}" style="--k:{_shade(token.kl, scale)}">'
        f"{_said(token.text)}</span>"
        for i, token in enumerate(view.tokens)
    )
    before = f'<span class="before">{escape(view.before)}</span>' if view.before else ""
    if aligned:
        said = f"{number(total)} nats less likely, {len(view.tokens)} stretches"
    else:
        said = f"token KL {number(mean)} nats, {len(view.tokens)} tokens"
    title = f"Text {view.text}: {said}"
    return f'<h3>{title}</h3><div class="text">{before}{tokens}</div>'


def _said(text: str) -> str:
    """HTML of a token, with a sign for a line end and for a part of a character."""
    if not text:
        return "<i>·</i>"
    return escape(text).replace("\n", "<i>⏎</i>\n")


def _packed(token: TokenView) -> list[Any]:
    def few(pairs: tuple[tuple[str, float], ...]) -> list[list[Any]]:
        return [[text, float(f"{p:.4g}")] for text, p in pairs]

    numbers = (float(f"{x:.5g}") for x in (token.kl, token.logp, token.reference_logp))
    return [token.text, *numbers, few(token.likeliest), few(token.reference_likeliest)]
