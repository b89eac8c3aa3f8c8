"""A few texts token by token: the KL at each token, and both models' likeliest tokens there."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.comparison.subsets import TextRow
from jaxmap.comparison.token_comparison import TokenComparison
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens

SHOWN = 5  # texts that differ most
# Statistics of the engine.
LIKELIEST = (
    "likeliest",
    "likeliest_log_probability",
    "reference_likeliest",
    "reference_likeliest_log_probability",
)


@dataclasses.dataclass(frozen=True)
class TokenView:
    """A token of a text, or between two tokenizers a stretch (`jaxmap.comparison.alignment`).

    Fields:
      text: the characters that it stands for; "" for a part of a character.
      kl: KL(reference || model) of the next-token distributions at its place, nats; of a stretch,
        the reference's log-probability minus the model's, nats.
      logp, reference_logp: the log-probability of the token or stretch itself, nats.
      likeliest, reference_likeliest: the tokens with the largest probabilities in the model and in
        the reference, with these, the largest first; empty for a stretch.
    """

    text: str
    kl: float
    logp: float
    reference_logp: float
    likeliest: tuple[tuple[str, float], ...]
    reference_likeliest: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class TextView:
    """A text token by token.

    Fields:
      text: its index in the set, from 0.
      before: its characters before the first scored token.
      tokens: its scored tokens.
    """

    text: int
    before: str
    tokens: tuple[TokenView, ...]


def chosen_texts(found: TokenComparison, worst: Sequence[TextRow]) -> list[int]:
    """Returns the indices of the SHOWN worst texts, and of the one with the median of mean KL."""
    tokens_N = found.tokens_N
    kl_N = found.per_text(found.kl_M) / np.maximum(tokens_N, 1)
    return few_of(worst, kl_N, tokens_N > 0)


def few_of(worst: Sequence[TextRow], value_N: np.ndarray, scored_N: np.ndarray) -> list[int]:
    """Returns the indices of the first SHOWN texts of `worst`, and of the text of median value.

    Args:
      worst: the texts that differ most, the worst first.
      value_N: how much each text differs.
      scored_N: whether each text has scored tokens; the others do not count for the median.
    """
    chosen = [row.text for row in worst[:SHOWN]]
    scored = np.flatnonzero(scored_N)
    if len(scored):
        middle = int(scored[np.argsort(value_N[scored])[len(scored) // 2]])
        chosen += [middle] if middle not in chosen else []
    return chosen


def of_texts(tokens: Tokens, chosen: Sequence[int]) -> Tokens:
    """Returns the tokens of some texts alone, as a text set of their own."""
    parts = [tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]] for n in chosen]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    rest = (one[list(chosen)] for one in (tokens.first_scored, tokens.truncated, tokens.apart))
    ids = np.concatenate(parts) if parts else tokens.ids[:0]
    return Tokens(ids, np.concatenate([[0], ends]), *rest)


def keep_likeliest(path: Path, chosen: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays of LIKELIEST at the tokens of these texts, whole or not at all."""
    file = io.BytesIO()
    named: dict[str, Any] = {"texts": np.array(chosen, np.int64), **arrays}
    np.savez_compressed(file, **named)
    write_atomic(path, file.getvalue())


def read_likeliest(path: Path, chosen: Sequence[int]) -> dict[str, np.ndarray] | None:
    """Reads what `keep_likeliest` wrote; None if it is missing, damaged or of other texts."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    texts = arrays.pop("texts", None)
    same = texts is not None and texts.tolist() == list(chosen) and set(arrays) == set(LIKELIEST)
    return arrays if same else None


def views_of(
    texts: TextSet,
    chosen: Sequence[int],
    found: TokenComparison,
    spans: tuple[np.ndarray, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    pieces: Callable[[Sequence[int]], list[str]],
) -> tuple[TextView, ...]:
    """Returns the chosen texts token by token.

    Args:
      texts: the text set.
      chosen: the indices of the texts.
      found: the comparison on all texts, M tokens.
      spans: the first byte of each scored token, and its last byte + 1, int64 [M].
      arrays: the arrays of LIKELIEST at the scored tokens of the chosen texts, text after text.
      pieces: from ids to the characters that each stands for.
    """
    ids = np.unique(np.concatenate([arrays[name].reshape(-1) for name in LIKELIEST[::2]]))
    known = ids[ids >= 0].tolist()
    said = dict(zip(known, pieces(known), strict=True))

    def five(at: int, of: str) -> tuple[tuple[str, float], ...]:
        pairs = zip(
            arrays[f"{of}likeliest"][at].tolist(),
            np.exp(arrays[f"{of}likeliest_log_probability"][at]).tolist(),
            strict=True,
        )
        return tuple((said[i], p) for i, p in pairs if i >= 0)

    views, at = [], 0
    for n in chosen:
        data = texts.texts[n].encode()
        start, stop = int(found.offsets_N1[n]), int(found.offsets_N1[n + 1])
        tokens = []
        for m in range(start, stop):
            tokens.append(
                TokenView(
                    data[spans[0][m] : spans[1][m]].decode(errors="replace"),
                    float(found.kl_M[m]),
                    float(found.log_likelihood_M[m]),
                    float(found.reference_log_likelihood_M[m]),
                    five(at, ""),
                    five(at, "reference_"),
                )
            )
            at += 1
        before = data[: spans[0][start]].decode(errors="replace") if stop > start else ""
        views.append(TextView(n, before, tuple(tokens)))
    return tuple(views)
