"""Loads a checkpoint once and computes all its requested variants and statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.quantize import quantised
from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.checkpoint.storage import Storage
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_cache import Tokenised, TokenisedTexts
from jaxmap.engine.callbacks import SILENT, Callbacks
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import Scores, check_lengths, compile_for, score_rows
from jaxmap.engine.translators import Translators
from jaxmap.environment import device, user_cache
from jaxmap.lens.tuned_lens import find_lens
from jaxmap.precision import PRECISIONS, default_dtype
from jaxmap.progress import activity
from jaxmap.store import Store
from jaxmap.store.record import Identity, Record
from jaxmap.store.requests import Item, partial_path
from jaxmap.store.statistics import scored_as
from jaxmap.sweeps.hosts import Hosts, Leader
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint, ModelFacts, log_texts
from jaxmap.sweeps.placement import Placement
from jaxmap.sweeps.records import (
    keep_output,
    keep_spans,
    kept_results,
    lacking,
    new_records,
    output_identity,
    provenance,
    result_versions,
)
from jaxmap.sweeps.resume import UnfinishedScores
from jaxmap.sweeps.settings import Settings


def _no_progress(word: str) -> None:
    pass


class CheckpointScorer:
    """Loads checkpoints and scores them; compiled programs and tokens are shared between them.

    Args:
      texts: the text set.
      store: the store, from which results are read; only unfinished scores are written to it.
      settings: how every checkpoint is scored.
      hosts: the processes that score each checkpoint together with this one.

    Fields:
      progress: called with "loading" or "compiling" when that begins, and with "" when it ends.
    """

    progress: Callable[[str], object]

    def __init__(
        self, texts: TextSet, store: Store, settings: Settings, hosts: Hosts | None = None
    ):
        self.texts = texts
        self.store = store
        self.settings = settings
        self.progress = _no_progress
        self.scorers = Scorers(compiling=self._compiling)
        self._loading = False
        cache = user_cache() / "tokenizers"
        self._tokenised = TokenisedTexts(texts, store.path / "tokens", cache)
        self._hosts = hosts
        self._device_logged = False
        self._placement = Placement(settings)

    def load(
        self,
        files: CheckpointFiles,
        take: weights.Take | None = None,
        items: Sequence[Item] = (),
    ) -> LoadedCheckpoint:
        """Loads a checkpoint into memory; raises InputError if it cannot be scored.

        Args:
          files: the checkpoint.
          take: called with each stored tensor when it is read.
          items: the items for which it will be scored.
        """
        self._loading = True
        self.progress("loading")
        try:
            if isinstance(self._hosts, Leader):
                return self._hosts.load(files, lambda: self.load_part(files, take))
            return self.load_part(files, take, items)
        finally:
            self._loading = False
            self.progress("")

    def checkpoint(self, files: CheckpointFiles) -> Checkpoint:
        """The checkpoint's folder, with the keys of config.json to ignore from the settings."""
        return Checkpoint(files.folder, self.settings.ignore_config_keys)

    def load_part(
        self,
        files: CheckpointFiles,
        take: weights.Take | None = None,
        items: Sequence[Item] = (),
    ) -> LoadedCheckpoint:
        """`load` for this process's part."""
        settings = self.settings
        # The tokenizer first: it is cheap, and a checkpoint without one need not be loaded.
        checkpoint = self.checkpoint(files)
        spec = checkpoint.architecture.spec
        texts = self._tokenised.read_by(files.folder, spec.context)
        tokens = texts.tokens
        check_lengths(tokens, spec.dense_up_to)
        with weights.opened(checkpoint) as found:
            dtype = found.dtype(settings.dtype)
            # Of floats other copies can be made.
            in_codes = settings.quantize == ("none",) or found.quantises_activations
            on_devices = partial(weights.shapes_on, found, dtype, in_codes=in_codes)
            mesh = self._placement.mesh(found.spec, dtype, on_devices)
            tensors = None
            if mesh is None:
                shapes = weights.shapes(found, dtype, in_codes=in_codes)
                self._compile(files, texts, shapes, items)
                tensors = None if take is None else weights.observed(found.read(), take)
            model = weights.load(
                found, dtype=settings.dtype, mesh=mesh, tensors=tensors, in_codes=in_codes
            )
        if mesh is not None and take is not None and jax.process_index() == 0:
            # Each process has read its own part only.
            for key, stored in weights.read(checkpoint):
                take(key, stored)
        self._log_device(model.dtype)
        log_texts(files, tokens, spec.context)
        return LoadedCheckpoint(files, model, texts)

    def score(
        self,
        loaded: LoadedCheckpoint,
        item: Item,
        *,
        desc: str = "score",
        seconds: float = 0.0,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], object] = lambda done, of: None,
    ) -> list[Record]:
        """Scores an item; returns the records of the output and, with the lens, of each layer.

        Only records and statistics that the store lacks are returned.

        Args:
          loaded: the checkpoint.
          item: the item.
          desc: the label of the progress bar.
          seconds: the time that fetching and loading took.
          stop, progress: see `Callbacks`.
        """
        started = time.perf_counter() - seconds
        identity = self._identity(loaded.files, loaded.texts, loaded.model.dtype, item)
        kept = kept_results(self.store, identity, item, loaded.model.num_layers)
        missing = replace(item, statistics=lacking(item, kept))
        if not missing.statistics:
            return []
        callbacks = Callbacks(self._unfinished(item, identity), stop, progress)

        def score(order: int = 0) -> tuple[Scores, Storage]:
            return self.score_part(loaded, missing, order, callbacks=callbacks, desc=desc)

        if isinstance(self._hosts, Leader):
            scores, storage = self._hosts.score(loaded, missing, score)
        else:
            scores, storage = score()
        keep_output(self.store, scores, item, kept)
        seconds = time.perf_counter() - started
        made_with = provenance(
            loaded.files,
            loaded.model,
            loaded.texts,
            seconds=seconds,
            storage=storage,
            default_dtype=self.default_dtype(loaded.model),
            device=self.device(),
            versions=self.versions(),
        )
        if scores.per_token:
            keep_spans(self.store, self._tokenised, loaded, identity, made_with)
        tokens, in_16 = loaded.texts.tokens, self.settings.keep_tokens
        return new_records(identity, kept, item, scores, tokens, made_with, in_16=in_16)

    def score_part(
        self,
        loaded: LoadedCheckpoint,
        item: Item,
        order: int = 0,
        *,
        callbacks: Callbacks = SILENT,
        desc: str = "score",
    ) -> tuple[Scores, Storage]:
        """The statistics of an item, [R, N], and the storage of the weights that were scored.

        Each of several processes computes its part.

        Args:
          loaded, item: see `score`.
          order: the number of the first process's order, the same in all processes.
          callbacks, desc: see `score_rows`.
        """
        model = quantised(loaded.model, item.variant.quantisation)
        if self._hosts is not None:
            agree = partial(self._hosts.same, order)
            callbacks = replace(callbacks, stop=self._hosts.stop, agree=agree)
        tokens, lens = loaded.texts.tokens, bool(item.variant.lens)
        statistics, per_token = scored_as(item.statistics)
        scores = score_rows(
            self.scorers.of(model),
            model,
            tokens,
            statistics=statistics,
            per_token=per_token,
            lens=self._translators(item, loaded) if item.variant.is_tuned else lens,
            batch_tokens=self._placement.batch_tokens(loaded.model, tokens, lens),
            desc=desc,
            callbacks=callbacks,
        )
        per_text = {name: np.atleast_2d(array) for name, array in scores.items()}
        tokens_of = {name: np.atleast_2d(array) for name, array in scores.per_token.items()}
        return Scores(per_text, tokens_of, scores.offsets_N1), model.storage

    @contextmanager
    def _compiling(self) -> Iterator[None]:
        """The context in which a program is compiled."""
        self.progress("compiling")
        try:
            with activity("compiling; later checkpoints of this architecture need no wait"):
                yield
        finally:
            self.progress("loading" if self._loading else "")

    def _compile(
        self,
        files: CheckpointFiles,
        texts: Tokenised,
        model: weights.Model,
        items: Sequence[Item],
    ) -> None:
        """Compiles the programs for the items before the weights need memory."""
        for item in items:
            if item.variant.is_quantised or item.variant.is_tuned:
                continue
            identity = self._identity(files, texts, model.dtype, item)
            missing = lacking(item, kept_results(self.store, identity, item, model.spec.L))
            if not missing:
                continue
            lens = bool(item.variant.lens)
            compile_for(
                self.scorers.of(model),
                model,
                texts.tokens,
                lens=lens,
                batch_tokens=self._placement.batch_tokens(model, texts.tokens, lens),
                statistics=scored_as(missing)[0],
            )

    def _translators(self, item: Item, loaded: LoadedCheckpoint) -> Translators:
        spec = loaded.model.spec
        lens = find_lens(Path(self.settings.tuned_lens), item.ref, item.revision)
        return Translators(*map(jnp.asarray, lens.read(loaded.files.commit, spec.L, spec.D)))

    def device(self) -> str:
        """The devices that compute, as records name them."""
        return device()

    def versions(self) -> dict[str, str]:
        """The versions of libraries on which a result depends, and of the token rule."""
        return result_versions()

    def default_dtype(self, model: ModelFacts) -> str:
        """The precision that "auto" stands for."""
        return default_dtype(jax.default_backend(), model.stored_dtype)

    def forget_partial(self, item: Item) -> None:
        """Removes the unfinished scores of an item, once they are complete or useless."""
        partial_path(self.store.path, item).unlink(missing_ok=True)

    def _unfinished(self, item: Item, identity: Identity) -> UnfinishedScores:
        facts = {
            "identity": identity.facts,
            "lens": item.variant.lens,
            "versions": self.versions(),
            "device": self.device(),
            "mesh": self.settings.mesh,
        }
        path = partial_path(self.store.path, item)
        return UnfinishedScores(path, facts, self.settings.save_every)

    def _identity(
        self, files: CheckpointFiles, texts: Tokenised, dtype: str, item: Item
    ) -> Identity:
        return output_identity(files, self.texts.fingerprint, texts, dtype, item)

    def _log_device(self, dtype: str) -> None:
        """Logs once which dtype and device a run uses, and the dtype's floor."""
        if not self._device_logged:
            why = " (auto)" if self.settings.dtype == "auto" else ""
            floor = PRECISIONS[dtype].floor
            note = f"; its rounding is about {floor} bits/byte, see docs/precision.md"
            logging.info(
                "scoring in %s%s on %s%s", dtype, why, self.device(), note if floor else ""
            )
            self._device_logged = True
