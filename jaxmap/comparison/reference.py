"""The reference of a comparison: in memory beside each model, or by its final hidden states."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import logging

from jaxmap.byte_sizes import byte_text
from jaxmap.checkpoint import layer_weights, weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.comparison import stored_comparison
from jaxmap.comparison.hidden_states import StatesInMemory, StatesSource, kept_reference
from jaxmap.comparison.identity import common_facts
from jaxmap.comparison.options import ComparisonOptions
from jaxmap.comparison.sides import Side
from jaxmap.corpus.batches import BatchPlan, plan
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.device_memory import USABLE, device_memory
from jaxmap.engine.layer_by_layer import LayerByLayer
from jaxmap.engine.reference import AnyReference, KeptReference, ReferenceModel
from jaxmap.engine.scorer import BATCH_TOKENS, Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.errors import InputError
from jaxmap.stats.alignment import Spans
from jaxmap.store import Store

WHOLE, STATES, LAYERS = "whole", "states", "layers"  # what is in memory of the reference


class ComparisonReference:
    """The reference, which is loaded when a comparison first needs it.

    Beside a model it is in memory whole (WHOLE); or its final hidden states are kept in the store,
    and of it only the unembedding is in memory (STATES); or the states are computed one layer at a
    time, so that it never is (LAYERS).

    Args:
      options: options of the run.
      texts: the text set.
      store: the store, in which its states are kept.
      scorers: the compiled programs, shared with the models.
    """

    def __init__(self, options: ComparisonOptions, texts: TextSet, store: Store, scorers: Scorers):
        self.side = Side(options.reference, texts, options.ignore_config_keys)
        self._options, self._texts, self._store = options, texts, store
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
        """The model, if it is in memory."""
        return None if self._in_memory is None else self._in_memory.model

    def on(self, tokens: Tokens, beside: Side) -> AnyReference:
        """The reference on these ids.

        Args:
          tokens: the ids.
          beside: the model that is compared with it, which is not in memory yet.
        """
        if self._kept is not None and self._kept[0] is tokens:
            return self._kept[1]
        way = WHOLE if self._in_memory is not None else self._way(beside.checkpoint)
        if way == WHOLE:
            return self._loaded()
        self._kept = None
        path = self._path_of("states", tokens, bits=self._options.keep_states)
        with self._source(way) as source:
            found = kept_reference(
                path.with_suffix(".npy"),
                source,
                tokens,
                self._packed(tokens),
                bits=self._options.keep_states,
                budget=self._options.states_budget,
            )
        self._kept = tokens, found
        return found

    def own_log_likelihoods(self, beside: Side) -> tuple[np.ndarray, Spans]:
        """The log-probabilities of its own tokens, nats, float32 [L], and the tokens' bytes."""
        if self._own is None:
            tokens = self.side.tokens(self.side.context)
            if self._in_memory is None and self._way(beside.checkpoint) == LAYERS:
                with self._layer_by_layer() as source:
                    streams = self._path_of("scores", tokens)
                    found_L = source.log_likelihoods(tokens, self._packed(tokens), streams)
            else:
                model = self._loaded().model
                found_L = score_rows(
                    self._scorers.of(model),
                    model,
                    tokens,
                    per_token=True,
                    batch_tokens=self._options.batch_tokens,
                    desc=self.name,
                ).per_token["log_likelihood"]
            self._own = found_L, self.side.spans(tokens)
        return self._own

    def check_whole(self, field: str) -> None:
        """Raises InputError for a parameter that needs the whole reference in memory."""
        if self._in_memory is None and self._way(None) == LAYERS:
            raise InputError("takes the whole reference in memory, which does not fit", field=field)

    def _way(self, beside: Checkpoint | None) -> str:
        """What to keep in memory, as requested and by the sizes of both models' weights."""
        choice = self._options.layer_by_layer
        if choice == "yes":
            return LAYERS
        way = STATES if self._options.keep_states else WHOLE
        memory = device_memory(jax.local_devices()[0])
        if choice == "no" or memory is None:
            return way
        own = self._num_bytes(self.side.checkpoint)
        if own > USABLE * memory:
            logging.warning(
                "%s: its weights take %s of %s of memory: it is read layer by layer",
                *(self.name, byte_text(own), byte_text(memory)),
            )
            return LAYERS
        other = 0 if beside is None else self._num_bytes(beside)
        if way == WHOLE and own + other > USABLE * memory:
            logging.warning(
                "%s: its weights and those of the model beside it take %s of %s of "
                "memory: its final hidden states are kept in the store",
                *(self.name, byte_text(own + other), byte_text(memory)),
            )
            return STATES
        return way

    def _num_bytes(self, checkpoint: Checkpoint) -> int:
        with weights.opened(checkpoint) as found:
            return layer_weights.num_bytes(found, found.dtype(self._options.dtype))

    def _path_of(self, kind: str, tokens: Tokens, **facts: int) -> Path:
        """A file of the reference in the store; its name says all that it depends on."""
        facts_of = {
            kind: self.side.resolved.commit,
            **facts,
            "batch_tokens": self._options.batch_tokens,
            **common_facts(self._options, self._texts, tokens),
        }
        return stored_comparison.path_of(self._store.path, f"{self.name}+{kind}", facts_of)

    def _packed(self, tokens: Tokens) -> BatchPlan:
        batch_tokens = self._options.batch_tokens or BATCH_TOKENS[jax.default_backend()]
        width = self.side.checkpoint.architecture.spec.D
        return plan(tokens, batch_tokens=batch_tokens, width=width)

    @contextlib.contextmanager
    def _source(self, way: str) -> Iterator[StatesSource]:
        if way == LAYERS:
            with self._layer_by_layer() as source:
                yield source
        else:
            yield StatesInMemory(self._load())

    @contextlib.contextmanager
    def _layer_by_layer(self) -> Iterator[LayerByLayer]:
        with weights.opened(self.side.checkpoint) as found:
            yield LayerByLayer(found, found.dtype(self._options.dtype))

    def _loaded(self) -> ReferenceModel:
        if self._in_memory is None:
            self._in_memory = self._load()
        return self._in_memory

    def _load(self) -> ReferenceModel:
        loaded = weights.load(self.side.checkpoint, dtype=self._options.dtype)
        return ReferenceModel(self._scorers.of(loaded), loaded)
