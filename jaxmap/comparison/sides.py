"""The two sides of a comparison: checkpoints as found, and the tokens that they read."""

from __future__ import annotations

import numpy as np

from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.checkpoint.sources.types import Resolved
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokens import TextTokenizer, Tokens, load_tokenizer
from jaxmap.stats.alignment import Spans


class Side:
    """A checkpoint as found, and its tokens of the text set; the weights are read when wanted."""

    def __init__(self, ref: Ref, texts: TextSet, ignore: tuple[str, ...]):
        self.ref = ref
        self.resolved: Resolved = resolve(ref)
        folder = fetch(self.resolved).folder
        self.checkpoint = Checkpoint(folder, ignore)
        self.tokenizer: TextTokenizer = load_tokenizer(folder)
        self._texts = texts
        self._tokens: dict[int | None, Tokens] = {}

    @property
    def name(self) -> str:
        """The reference as the user wrote it."""
        return str(self.ref)

    @property
    def context(self) -> int | None:
        """The longest text in tokens; None for no limit."""
        return self.checkpoint.architecture.spec.context

    def tokens(self, context: int | None) -> Tokens:
        """The ids, cut to a context that both models have."""
        if context not in self._tokens:
            self._tokens[context] = self.tokenizer.encode(self._texts, context)
        return self._tokens[context]

    def spans(self, tokens: Tokens) -> Spans:
        """The bytes of each scored token of these."""
        found = byte_spans(self.tokenizer, self._texts, tokens)
        return Spans(*found, np.concatenate([[0], np.cumsum(tokens.num_scored, dtype=np.int64)]))


def shared_tokens(texts: TextSet, reference: Side, model: Side) -> Tokens | str:
    """The ids that both have of the texts, cut to the shorter context; where they differ, how: the
    first text that they read differently, and how many there are."""
    contexts = [c for c in (model.context, reference.context) if c is not None]
    context = min(contexts, default=None)
    theirs, ours = reference.tokens(context), model.tokens(context)
    if np.array_equal(theirs.ids, ours.ids) and np.array_equal(theirs.offsets, ours.offsets):
        if np.array_equal(theirs.first_scored, ours.first_scored):
            return theirs
        n = int(np.flatnonzero(theirs.first_scored != ours.first_scored)[0])
        return (
            f"reads text {n} as the same tokens as {reference.name}, but scores them from token "
            f"{ours.first_scored[n]} on, the other from {theirs.first_scored[n]}"
        )
    differs_N = [not np.array_equal(_ids(theirs, n), _ids(ours, n)) for n in range(len(texts))]
    n, count = differs_N.index(True), f"{sum(differs_N):,} of {len(texts):,}"
    return (
        f"reads text {n} ({texts.texts[n]!r:.40}) as other tokens than {reference.name}: "
        f"{_ids(ours, n)[:6].tolist()}... and {_ids(theirs, n)[:6].tolist()}... ({count} "
        f"texts differ)"
    )


def _ids(tokens: Tokens, n: int) -> np.ndarray:
    return tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]]
