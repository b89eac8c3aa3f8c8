"""Texts token by token: the divergence at each, and what both models find likeliest there."""

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
    """A token of a text, or a stretch where two tokenizers differ (`jaxmap.comparison.alignment`).

    Fields:
      text: what it stands for; "" for a part of a character.
      kl: KL(reference || model) of the predictions of it, nats; of a stretch, how many nats less
        likely it is to the model than to the reference.
      logp, reference_logp: its own log-probability.
      likeliest, reference_likeliest: tokens that each finds likeliest, and their probabilities;
        none of a stretch.
    """

    text: str
    kl: float
    logp: float
    reference_logp: float
    likeliest: tuple[tuple[str, float], ...]
    reference_likeliest: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class TextView:
    """A text: its place in the set, what stands before the first scored token, and the tokens."""

    text: int
    before: str
    tokens: tuple[TokenView, ...]


def chosen_texts(found: TokenComparison, worst: Sequence[TextRow]) -> list[int]:
    """The texts that differ most, and after them the one in the middle of all."""
    tokens_N = found.tokens_N
    kl_N = found.per_text(found.kl_M) / np.maximum(tokens_N, 1)
    return few_of(worst, kl_N, tokens_N > 0)


def few_of(worst: Sequence[TextRow], value_N: np.ndarray, scored_N: np.ndarray) -> list[int]:
    """The first of `worst`, and the text with the median of `value_N` among those scored."""
    chosen = [row.text for row in worst[:SHOWN]]
    scored = np.flatnonzero(scored_N)
    if len(scored):
        middle = int(scored[np.argsort(value_N[scored])[len(scored) // 2]])
        chosen += [middle] if middle not in chosen else []
    return chosen


def of_texts(tokens: Tokens, chosen: Sequence[int]) -> Tokens:
    """The tokens of some texts alone."""
    parts = [tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]] for n in chosen]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    rest = (one[list(chosen)] for one in (tokens.first_scored, tokens.truncated, tokens.apart))
    ids = np.concatenate(parts) if parts else tokens.ids[:0]
    return Tokens(ids, np.concatenate([[0], ends]), *rest)


def keep_likeliest(path: Path, chosen: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes what was found of these texts, beside their comparison."""
    file = io.BytesIO()
    named: dict[str, Any] = {"texts": np.array(chosen, np.int64), **arrays}
    np.savez_compressed(file, **named)
    write_atomic(path, file.getvalue())


def read_likeliest(path: Path, chosen: Sequence[int]) -> dict[str, np.ndarray] | None:
    """What `keep_likeliest` wrote; None where it is not there, or damaged, or of other texts."""
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
    """The chosen texts, token by token.

    Args:
      texts, found, spans: of all texts.
      arrays: of the scored tokens of the chosen ones, see LIKELIEST.
      pieces: ids -> what they stand for.
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
