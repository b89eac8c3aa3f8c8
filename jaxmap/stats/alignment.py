"""Two tokenisations of the same texts, by the bytes where tokens of both end.

Between two such bytes each of two models has a whole number of tokens, so that the sums of their
log-probabilities there are of the same bytes, whatever the tokenizers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Spans(NamedTuple):
    """Bytes of the scored tokens of all texts, text after text: UTF-8, of what is scored.

    Fields:
      start_M, end_M: first byte, and last + 1, int64; within a text without gaps. Tokens that are
        parts of a character, or special ones, may have none.
      offsets_N1: int64; text n has the tokens offsets_N1[n] to offsets_N1[n + 1], exclusive.
    """

    start_M: np.ndarray
    end_M: np.ndarray
    offsets_N1: np.ndarray


class Alignment(NamedTuple):
    """The stretches of N texts, text after text: S of them, for M tokens and L of the other model.

    Fields:
      start_S, end_S: bytes of the text, first and last + 1, int64.
      shared_S: whether both models score these bytes, bool. Bytes that only one of them scores (it
        begins earlier, or its context reaches further) are stretches of their own.
      text_S: the text of each, int64.
      of_M, of_L: the stretch of each token of the first and of the second model, int64.
    """

    start_S: np.ndarray
    end_S: np.ndarray
    shared_S: np.ndarray
    text_S: np.ndarray
    of_M: np.ndarray
    of_L: np.ndarray

    def sums(self, value_M: np.ndarray, of_M: np.ndarray) -> np.ndarray:
        """The sum over each stretch's tokens, float64 [S]; `of_M` is one of the fields."""
        return np.bincount(of_M, value_M.astype(np.float64), minlength=len(self.start_S))


def align(first: Spans, second: Spans) -> Alignment:
    """Aligns two tokenisations of the same texts.

    A token without bytes (a part of a character, or a special token) goes with the next one that
    has some; after the last, with the last.

    Args:
      first, second: the bytes of each model's scored tokens.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    base = 0
    for n in range(len(first.offsets_N1) - 1):
        start_A, end_A = _of_text(first, n)
        start_B, end_B = _of_text(second, n)
        bound_C = np.intersect1d(_bounds(start_A, end_A), _bounds(start_B, end_B))
        if len(bound_C) < 2:
            bound_C = bound_C[:0]
        # 0: before the first common byte; C: after the last.
        of_A, of_B = (np.searchsorted(bound_C, _ends(s, e), "left")
                      for s, e in ((start_A, end_A), (start_B, end_B)))  # fmt: skip
        number = len(bound_C) + 1
        used_K = np.bincount(np.concatenate([of_A, of_B]), minlength=number) > 0
        place_K = base + np.cumsum(used_K) - 1
        low = min((int(start[0]) for start in (start_A, start_B) if len(start)), default=0)
        high = max((int(end[-1]) for end in (end_A, end_B) if len(end)), default=0)
        edge_K1 = np.concatenate([[low], bound_C, [high]])
        shared_K = (np.arange(number) > 0) & (np.arange(number) < number - 1)
        parts.append(
            (
                edge_K1[:-1][used_K],
                edge_K1[1:][used_K],
                shared_K[used_K],
                np.full(int(used_K.sum()), n),
                place_K[of_A],
                place_K[of_B],
            )
        )
        base += int(used_K.sum())
    if not parts:
        none = np.zeros(0, np.int64)
        return Alignment(none, none, none.astype(bool), none, none, none)
    return Alignment(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _of_text(spans: Spans, n: int) -> tuple[np.ndarray, np.ndarray]:
    start_M, end_M, offsets_N1 = spans
    here = slice(offsets_N1[n], offsets_N1[n + 1])
    return start_M[here], end_M[here]


def _bounds(start_T: np.ndarray, end_T: np.ndarray) -> np.ndarray:
    """The bytes where tokens begin or end, each once."""
    return np.unique(np.concatenate([start_T[:1], end_T]))


def _ends(start_T: np.ndarray, end_T: np.ndarray) -> np.ndarray:
    """The end of each token; of one without bytes, that of the next that has some."""
    if not len(end_T):
        return end_T
    has_T = end_T > start_T
    later_T = np.where(has_T, end_T, np.iinfo(np.int64).max)
    later_T = np.minimum.accumulate(later_T[::-1])[::-1]
    return np.minimum(later_T, end_T[-1])
