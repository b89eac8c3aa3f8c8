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

# What compares two models without common tokens.
INSTEAD = (
    "Use bits per byte, or KL over texts: both are of bytes, and statistics of parts are taken "
    "between bytes where tokens of both models end."
)


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
    """The token ids that both models read the texts as, cut to the shorter context.

    Where the two cannot be compared token by token, a string says why, as what follows the model's
    name: the first text that they read as other ids, and how many there are; or the first id that
    means another token to each of them.
    """
    contexts = [c for c in (model.context, reference.context) if c is not None]
    context = min(contexts, default=None)
    theirs, ours = reference.tokens(context), model.tokens(context)
    if np.array_equal(theirs.ids, ours.ids) and np.array_equal(theirs.offsets, ours.offsets):
        if np.array_equal(theirs.first_scored, ours.first_scored):
            return _other_vocabulary(reference, model) or theirs
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


def _other_vocabulary(reference: Side, model: Side) -> str:
    """Which ids mean other tokens to a model than to the reference; "" where none do.

    Only ids of both vocabularies count. Added tokens do not: a fine-tune gives the rows of reserved
    tokens new names.
    """
    if reference.tokenizer.fingerprint == model.tokenizer.fingerprint:
        return ""
    readings = reference.tokenizer.reading, model.tokenizer.reading
    added = readings[0].added_ids() | readings[1].added_ids()
    theirs, ours = ({i: t for t, i in one.vocabulary().items()} for one in readings)
    shared = sorted(theirs.keys() & ours.keys() - added)
    spelt = [i for i in shared if theirs[i] != ours[i]]
    # Two formats may spell one token in two ways; what it stands for is the same.
    pieces = {
        i: two for i, *two in zip(spelt, *(one.pieces(spelt) for one in readings), strict=True)
    }
    partial = [i for i in spelt if all("\ufffd" in piece for piece in pieces[i])]
    others = [i for i in spelt if pieces[i][0] != pieces[i][1]]
    if len(partial) + len(others) == len(spelt):
        # Both spell tokens alike, so that parts of characters can be told apart by their spelling.
        others = sorted({*others, *partial})
    if not others:
        return ""
    i = others[0]
    return (
        f"reads the texts as the same ids as {reference.name}, but id {i} is {ours[i]!r} in its "
        f"vocabulary and {theirs[i]!r} in the other ({len(others):,} of {len(shared):,} ids that "
        "both have differ)"
    )


def _ids(tokens: Tokens, n: int) -> np.ndarray:
    return tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]]
