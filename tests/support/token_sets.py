"""Token sets made of plain ids, without a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxmap.corpus.tokens import Tokens


def make_tokens(texts: Sequence[np.ndarray], first: Sequence[int] | None = None) -> Tokens:
    """Tokens of texts given as ids; `first` scored ids, by default the second of each."""
    lengths = np.array([len(ids) for ids in texts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    first = np.ones(len(texts), np.int32) if first is None else np.asarray(first, np.int32)
    ids = np.concatenate([np.asarray(t, np.int32) for t in texts] or [np.zeros(0, np.int32)])
    truncated = np.zeros(len(texts), bool)
    first = np.minimum(first, lengths).astype(np.int32)
    return Tokens(ids, offsets, first, truncated, truncated)
