"""Subsets of a comparison: texts by their fields, tokens by their kind, and the worst texts.

The worst texts are those whose predictions differ most, each with its worst span of tokens.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from jaxmap.comparison.token_comparison import TokenComparison
from jaxmap.corpus.texts import TextSet

MOST_VALUES = 40  # of a field; further ones are taken together
SPAN = 8  # tokens
WORST = 100  # texts of a model that are listed

CAPITALISED = "capitalised"  # names, and what begins a sentence
# A token is of the first kind whose pattern matches all of its text, without the spaces around it.
# Code is what is rare in prose: identifiers with an underscore or an inner capital, brackets and
# operators.
KINDS = {
    "white space": r"\s+",
    "digits": r"\s*\d+\s*",
    "code": r"\s*(?:\w*_\w*|[a-z]+[A-Z]\w*|[^\w\s]*(?:\(\)|[\[\]{}<>=;|\\^~`+*/&%$#@])[^\w\s]*)\s*",
    CAPITALISED: r"\s*[A-Z\u00c0-\u00de][a-z\u00df-\u024f'\u2019]*\s*",
    "Latin letters": r"\s*[A-Za-z\u00c0-\u024f'\u2019]+\s*",
    "other letters": r"\s*[^\W\d_]+\s*",
    "punctuation": r"\s*[^\w\s]+\s*",
}
# Capitalised tokens by how often their text occurs in the text set; models differ more at rare
# names.
FREQUENCIES = {"seen once": 1, "seen 2 to 9 times": 2, "seen 10 times or more": 10}
PARTIAL, MIXED = "part of a character or special", "mixed"


def by_fields(texts: TextSet, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns masks of the texts with each value of some fields.

    Args:
      texts: the text set of N texts.
      names: fields of the texts, such as "source" or "meta.pile_set_name".

    Returns:
      bool [N] by "field=value", the most frequent value of a field first. Values beyond the
      MOST_VALUES most frequent are taken together as "field: all others".

    Raises InputError for a field that no text has.
    """
    masks = {}
    for name in names:
        values = texts.values(name)
        often = [value for value, _ in Counter(values).most_common(MOST_VALUES)]
        value_N = np.array([value if value in often else "\0" for value in values], object)
        for value in often:
            masks[f"{name}={value}"] = value_N == value
        if (value_N == "\0").any():
            masks[f"{name}: all others"] = value_N == "\0"
    return masks


def by_kind(texts: TextSet, spans: tuple[np.ndarray, np.ndarray], offsets_N1: np.ndarray) -> dict:
    """Returns masks of the tokens of each kind, see KINDS.

    Args:
      texts: the text set.
      spans: the first byte of each token in its text, and its last byte + 1, int64 [M].
      offsets_N1: int64; text n has the tokens offsets_N1[n] to offsets_N1[n + 1], exclusive.

    Returns:
      bool [M] by "token: KIND". Capitalised tokens are divided by how often their text occurs.
    """
    patterns = {name: re.compile(pattern) for name, pattern in KINDS.items()}
    kind_M, said_M = [], []
    for n, text in enumerate(texts.texts):
        data = text.encode()
        here = slice(offsets_N1[n], offsets_N1[n + 1])
        for start, end in zip(spans[0][here], spans[1][here], strict=True):
            said = data[start:end].decode(errors="ignore")
            said_M.append(said.strip())
            if not said:
                kind_M.append(PARTIAL)
                continue
            found = (name for name, pattern in patterns.items() if pattern.fullmatch(said))
            kind_M.append(next(found, MIXED))
    capitalised = Counter(
        said for said, kind in zip(said_M, kind_M, strict=True) if kind == CAPITALISED
    )
    least = np.array(list(FREQUENCIES.values()))
    seen_M = np.array([capitalised[said] for said in said_M], np.int64)
    kinds = np.array(kind_M, object)
    masks = {}
    for kind in (*KINDS, MIXED, PARTIAL):
        if kind != CAPITALISED:
            masks[f"token: {kind}"] = kinds == kind
            continue
        group_M = np.searchsorted(least, seen_M, "right") - 1
        for group, name in enumerate(FREQUENCIES):
            masks[f"token: {kind}, {name}"] = (kinds == kind) & (group_M == group)
    return masks


@dataclasses.dataclass(frozen=True)
class TextRow:
    """One of the texts whose predictions differ most, and its worst span; a row of a table.

    Fields:
      text: the index of the text in the set, from 0.
      tokens: the number of its scored tokens.
      token_kl_nats: the mean of KL(reference || model) over them, nats; NaN between two tokenizers.
      delta_nats: the reference's log-likelihood of the text minus the model's, nats.
      first_byte, last_byte: the bytes of the worst span of 8 tokens (or fewer), the last excluded.
      span_kl_nats: the mean of KL(reference || model) over the tokens of the span, nats; NaN
        between two tokenizers.
      span_delta_nats: the reference's log-likelihood of the span minus the model's, nats.
      span: the text of the span.
    """

    text: int
    tokens: int
    token_kl_nats: float
    delta_nats: float
    first_byte: int
    last_byte: int
    span_kl_nats: float
    span_delta_nats: float
    span: str


def worst_texts(
    found: TokenComparison,
    texts: TextSet,
    spans: tuple[np.ndarray, np.ndarray],
    most: int = WORST,
) -> list[TextRow]:
    """Returns the texts with the largest mean token KL, the largest first.

    Texts with fewer tokens than a span come last; texts without scored tokens are left out.

    Args:
      found: the comparison.
      texts: the text set.
      spans: the first byte of each scored token, and its last byte + 1, int64 [M].
      most: the largest number of texts.
    """
    tokens_N = found.tokens_N
    kl_N = found.per_text(found.kl_M) / np.maximum(tokens_N, 1)
    delta_N = found.per_text(found.reference_log_likelihood_M) - found.per_text(
        found.log_likelihood_M
    )
    order_N = np.lexsort((-kl_N, tokens_N < SPAN))
    rows = []
    for n in [int(n) for n in order_N if tokens_N[n]][:most]:
        start = int(found.offsets_N1[n])
        kl_T = found.kl_M[start : found.offsets_N1[n + 1]].astype(np.float64)
        width = min(SPAN, len(kl_T))
        sum_S = np.convolve(kl_T, np.ones(width), "valid")
        at = int(sum_S.argmax())
        first = int(spans[0][start + at])
        last = int(spans[1][start + at + width - 1])
        said = texts.texts[n].encode()[first:last].decode(errors="replace")
        of_span = slice(start + at, start + at + width)
        moved_T = found.reference_log_likelihood_M[of_span] - found.log_likelihood_M[of_span]
        rows.append(
            TextRow(
                text=n,
                tokens=int(tokens_N[n]),
                token_kl_nats=float(kl_N[n]),
                delta_nats=float(delta_N[n]),
                first_byte=first,
                last_byte=last,
                span_kl_nats=float(sum_S[at]) / width,
                span_delta_nats=float(moved_T.astype(np.float64).sum()),
                span=said,
            )
        )
    return rows
