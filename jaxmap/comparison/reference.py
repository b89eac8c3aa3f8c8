"""The reference of a comparison: in memory beside each model, or by its final hidden states."""

from __future__ import annotations

import numpy as np

from jaxmap.checkpoint import weights
from jaxmap.comparison import kept
from jaxmap.comparison.asked import Asked
from jaxmap.comparison.facts import common_facts
from jaxmap.comparison.sides import Side
from jaxmap.comparison.states import kept_reference
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.reference import AnyReference, KeptReference, ReferenceModel
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.stats.alignment import Spans
from jaxmap.store import Store


class ComparisonReference:
    """The reference, which is loaded when a comparison first needs it.

    Args:
      asked: what the run is asked for.
      texts: the text set.
      store: the store, in which its states are kept where that is asked.
      scorers: the compiled programs, shared with the models.
    """

    def __init__(self, asked: Asked, texts: TextSet, store: Store, scorers: Scorers):
        self.side = Side(asked.reference, texts, asked.ignore_config_keys)
        self._asked, self._texts, self._store = asked, texts, store
        self._scorers = scorers
        self._in_memory: ReferenceModel | None = None
        self._kept: tuple[Tokens, KeptReference] | None = None
        self._own: tuple[np.ndarray, Spans] | None = None

    @property
    def name(self) -> str:
        """The name in the tables."""
        return self.side.name

    @property
    def model(self) -> weights.Model | None:
        """The model, where it is in memory."""
        return None if self._in_memory is None else self._in_memory.model

    def on(self, tokens: Tokens) -> AnyReference:
        """The reference on these ids: in memory, or by its states where these are kept."""
        if not self._asked.keep_states:
            return self._loaded()
        if self._kept is None or self._kept[0] is not tokens:
            self._kept = None
            loaded = self._load()
            facts = {
                "states": self.side.resolved.commit,
                "bits": self._asked.keep_states,
                "batch_tokens": self._asked.batch_tokens,
                **common_facts(self._asked, self._texts, tokens),
            }
            path = kept.path_of(self._store.path, f"{self.name}+states", facts)
            found = kept_reference(
                path.with_suffix(".npy"),
                loaded,
                self._scorers.of(loaded.model),
                tokens,
                bits=self._asked.keep_states,
                budget=self._asked.states_budget,
                batch_tokens=self._asked.batch_tokens,
            )
            self._kept = tokens, found
        return self._kept[1]

    def own_log_likelihoods(self) -> tuple[np.ndarray, Spans]:
        """The log-probabilities of its own tokens, nats, float32 [L], and the tokens' bytes."""
        if self._own is None:
            tokens = self.side.tokens(self.side.context)
            model = self._loaded().model
            scores = score_rows(
                self._scorers.of(model),
                model,
                tokens,
                per_token=True,
                batch_tokens=self._asked.batch_tokens,
                desc=self.name,
            )
            self._own = scores.per_token["log_likelihood"], self.side.spans(tokens)
        return self._own

    def _loaded(self) -> ReferenceModel:
        if self._in_memory is None:
            self._in_memory = self._load()
        return self._in_memory

    def _load(self) -> ReferenceModel:
        loaded = weights.load(self.side.checkpoint, dtype=self._asked.dtype)
        return ReferenceModel(self._scorers.of(loaded), loaded)
