"""One checkpoint's work: loaded once, it gives all that is asked of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.quantize import quantised
from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.corpus.reading import RULE, RULE_NAME
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_cache import Tokenised, TokenisedTexts
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.placement import largest_batch, mesh_for
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import Scores, compile_for, score_rows
from jaxmap.engine.translators import Translators
from jaxmap.environment import device, user_cache, versions
from jaxmap.lens.tuned_lens import find_lens
from jaxmap.model.spec import Spec
from jaxmap.precision import default_dtype
from jaxmap.store import Store
from jaxmap.store.record import Entry, Identity, Provenance, Record
from jaxmap.store.requests import Item, partial_path
from jaxmap.store.statistics import TOKEN_PREFIX, is_per_token, scored_as
from jaxmap.sweeps.hosts import Hosts, Leader
from jaxmap.sweeps.resume import Partial
from jaxmap.sweeps.settings import Settings
from jaxmap.variant import Variant


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory, and the texts as its tokenizer reads them."""

    files: CheckpointFiles
    model: weights.Model
    texts: Tokenised

    @property
    def ids_hash(self) -> str:
        """sha256 hex of the ids of all texts."""
        tokens = self.texts.tokens
        return hashlib.sha256(tokens.ids.tobytes() + tokens.offsets.tobytes()).hexdigest()


class CheckpointScorer:
    """Loads checkpoints and scores them, keeping what they share: programs, tokens.

    Args:
      texts: what is scored.
      store: knows what is there; nothing but unfinished scores is written to it.
      settings: what is asked of every checkpoint.
      hosts: the other processes that score each checkpoint together with this one.
    """

    def __init__(
        self, texts: TextSet, store: Store, settings: Settings, hosts: Hosts | None = None
    ):
        self.texts = texts
        self.store = store
        self.settings = settings
        self.scorers = Scorers()
        cache = user_cache() / "tokenizers"
        self._tokenised = TokenisedTexts(texts, store.path / "tokens", cache)
        self._hosts = hosts
        self._device_logged = False
        self._batches: dict[tuple, int] = {}  # tokens of the largest that fits

    def load(
        self,
        files: CheckpointFiles,
        take: weights.Take | None = None,
        items: Sequence[Item] = (),
    ) -> LoadedCheckpoint:
        """Brings a checkpoint into memory; InputError for one that cannot be scored.

        Args:
          files: the checkpoint.
          take: is given each stored tensor too, as it is read.
          items: what will be asked of it.
        """
        if isinstance(self._hosts, Leader):
            return self._hosts.load(files, lambda: self.load_part(files, take))
        return self.load_part(files, take, items)

    def checkpoint(self, files: CheckpointFiles) -> Checkpoint:
        """Its folder, with the keys of config.json that the settings say to ignore."""
        return Checkpoint(files.folder, self.settings.ignore_config_keys)

    def load_part(
        self,
        files: CheckpointFiles,
        take: weights.Take | None = None,
        items: Sequence[Item] = (),
    ) -> LoadedCheckpoint:
        """`load` of this process's part."""
        settings = self.settings
        # The tokenizer first: it is cheap, and a checkpoint without one need not be loaded.
        checkpoint = self.checkpoint(files)
        spec = checkpoint.architecture.spec
        texts = self._tokenised.read_by(files.folder, spec.context)
        tokens = texts.tokens
        with weights.opened(checkpoint) as found:
            dtype = found.dtype(settings.dtype)
            mesh = self._mesh(found.spec, dtype, found.stored_dtype)
            tensors = None
            if mesh is None:
                self._compile(files, texts, weights.shapes(found, dtype), items)
                tensors = found.read() if take is None else weights.observed(found.read(), take)
            model = weights.load(found, dtype=settings.dtype, mesh=mesh, tensors=tensors)
        if mesh is not None and take is not None and jax.process_index() == 0:
            # Each process read its own part only.
            for key, stored in weights.read(checkpoint):
                take(key, stored)
        self._log_device(model.dtype)
        if tokens.truncated.any():
            logging.warning(
                "%s: %d of %d texts are longer than the model's context of %d tokens and were cut",
                files.ref,
                tokens.truncated.sum(),
                len(tokens),
                spec.context,
            )
        if tokens.apart.any():
            logging.info(
                "%s: %d of %d responses are tokenised apart from their prompt, as a token of the "
                "whole reaches across the border",
                files.ref,
                tokens.apart.sum(),
                len(tokens),
            )
        return LoadedCheckpoint(files, model, texts)

    def score(
        self,
        loaded: LoadedCheckpoint,
        item: Item,
        *,
        desc: str = "score",
        seconds: float = 0.0,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[int, int], object] = lambda done, of: None,
    ) -> list[Record]:
        """What the store lacks of the model or its quantised copy, and with the lens of each layer.

        Args:
          loaded: the checkpoint.
          item: what is asked of it.
          desc: what the bar says.
          seconds: that went before, fetching and loading it.
          stop, tell: of `score_rows`.
        """
        started = time.perf_counter() - seconds
        identity = self._identity(loaded.files, loaded.texts, loaded.model.dtype, item)
        known = self._known(identity, item, loaded.model.spec.L)
        missing = replace(item, statistics=_lacking(item, known))
        if not missing.statistics:
            return []
        options: dict[str, Any] = dict(partial=self._partial(item, identity), tell=tell, desc=desc)
        if isinstance(self._hosts, Leader):
            scores = self._hosts.score(
                loaded, missing, lambda n: self.score_part(loaded, missing, n, **options)
            )
        else:
            scores = self.score_part(loaded, missing, stop=stop, **options)
        output = next(iter(known.values()))
        if output is not None and item.variant.lens:  # scored before without the lens: the same
            kept = self.store.load(output).arrays  # bits in the last layer
            for name in kept.keys() & scores:
                scores[name][-1] = kept[name]
        tokens = loaded.texts.tokens
        counts = {"num_tokens": tokens.lengths, "num_scored": tokens.num_scored}
        provenance = self._provenance(loaded, started)
        records = []
        for variant, entry in known.items():
            row = -1 if variant.layer is None else variant.layer
            arrays = {
                name: scores.per_token[name.removeprefix(TOKEN_PREFIX)][row]
                if is_per_token(name)
                else scores[name][row]
                for name in _lacking(item, {variant: entry})
            }
            if arrays:
                one = replace(identity, variant=variant)
                arrays |= counts if entry is None else {}
                records.append(Record(one, provenance, arrays, scores.offsets_N1))
        return records

    def score_part(
        self, loaded: LoadedCheckpoint, item: Item, order: int = 0, **options: Any
    ) -> Scores:
        """An item's statistics, [R, N]; of several processes each does its part.

        Args:
          loaded, item: as for `score`.
          order: number of the leading process's order, which all have alike.
          options: of `score_rows`.
        """
        model = quantised(loaded.model, item.variant.quantisation)
        if self._hosts is not None:
            options |= dict(stop=self._hosts.stop, same=partial(self._hosts.same, order))
        tokens, lens = loaded.texts.tokens, bool(item.variant.lens)
        statistics, per_token = scored_as(item.statistics)
        scores = score_rows(
            self.scorers.of(model),
            model,
            tokens,
            statistics=statistics,
            per_token=per_token,
            lens=self._translators(item, loaded) if item.variant.is_tuned else lens,
            batch_tokens=self._batch_tokens(loaded.model, tokens, lens),
            **options,
        )
        per_text = {name: np.atleast_2d(array) for name, array in scores.items()}
        tokens_of = {name: np.atleast_2d(array) for name, array in scores.per_token.items()}
        return Scores(per_text, tokens_of, scores.offsets_N1)

    def _compile(
        self,
        files: CheckpointFiles,
        texts: Tokenised,
        model: weights.Model,
        items: Sequence[Item],
    ) -> None:
        """Compiles for what is asked of a model itself, before its weights take up memory."""
        for item in items:
            if item.variant.is_quantised or item.variant.is_tuned:
                continue
            identity = self._identity(files, texts, model.dtype, item)
            missing = _lacking(item, self._known(identity, item, model.spec.L))
            if not missing:
                continue
            lens = bool(item.variant.lens)
            compile_for(
                self.scorers.of(model),
                model,
                texts.tokens,
                lens=lens,
                batch_tokens=self._batch_tokens(model, texts.tokens, lens),
                statistics=scored_as(missing)[0],
            )

    def _known(self, identity: Identity, item: Item, L: int) -> dict[Variant, Entry | None]:
        """What the store has of an item's output and layers; the output comes first."""
        output, lens = identity.variant, item.variant.lens
        layers = range(L + 1) if lens else ()
        variants = [output, *(replace(output, layer=layer, lens=lens) for layer in layers)]
        found = self.store.find_all(replace(identity, variant=one) for one in variants)
        return dict(zip(variants, found, strict=True))

    def _batch_tokens(self, model: weights.Model, tokens: Tokens, lens: bool) -> int | None:
        if not self.settings.batch:
            return self.settings.batch_tokens
        key = (model.graph, model.dtype, model.mesh, lens)
        if key not in self._batches:
            self._batches[key] = largest_batch(
                model.spec,
                model.dtype,
                model.mesh,
                weights=model.stored_dtype,
                lens=lens,
                most=len(tokens.ids),
            )
        return self._batches[key]

    def _mesh(self, spec: Spec, dtype: str, stored: str) -> Mesh | None:
        settings = self.settings
        return mesh_for(
            settings.mesh,
            spec,
            dtype,
            stored,
            batch_tokens=settings.batch_tokens,
            lens=settings.lens or bool(settings.tuned_lens),
        )

    def _translators(self, item: Item, loaded: LoadedCheckpoint) -> Translators:
        spec = loaded.model.spec
        lens = find_lens(Path(self.settings.tuned_lens), item.ref, item.revision)
        return Translators(*map(jnp.asarray, lens.read(loaded.files.commit, spec.L, spec.D)))

    def forget_partial(self, item: Item) -> None:
        """Removes what was kept of an item's vector, once it is whole or can never be."""
        partial_path(self.store.path, item).unlink(missing_ok=True)

    def _partial(self, item: Item, identity: Identity) -> Partial:
        facts = {
            "identity": identity.facts,
            "lens": item.variant.lens,
            "versions": _versions(),
            "device": device(),
            "mesh": self.settings.mesh,
        }
        return Partial(partial_path(self.store.path, item), facts, self.settings.save_every)

    def _identity(
        self, files: CheckpointFiles, texts: Tokenised, dtype: str, item: Item
    ) -> Identity:
        """Of an item's output, in the precision that it is scored in."""
        return Identity(
            ref=files.ref.name,
            revision=files.ref.revision,
            commit=files.commit,
            texts=self.texts.fingerprint,
            tokenizer=texts.fingerprint,
            special_rule=texts.special_rule,
            variant=Variant(dtype, item.variant.quantisation),
        )

    def _provenance(self, loaded: LoadedCheckpoint, started: float) -> Provenance:
        model = loaded.model
        default = default_dtype(jax.default_backend(), model.stored_dtype)
        return Provenance(
            is_default_dtype=model.dtype == default,
            num_layers=model.spec.L,
            truncated=int(loaded.texts.tokens.truncated.sum()),
            apart=int(loaded.texts.tokens.apart.sum()),
            context=model.spec.context,
            versions=_versions(),
            device=device(),
            seconds=round(time.perf_counter() - started, 3),
            files=tuple(tuple(stat) for stat in loaded.files.files),
            model={
                "model_type": model.model_type,
                "num_parameters": model.num_parameters,
                "stored_dtype": model.stored_dtype,
            },
        )

    def _log_device(self, dtype: str) -> None:
        """Says once which dtype and device a run uses."""
        if not self._device_logged:
            why = " (auto)" if self.settings.dtype == "auto" else ""
            logging.info("scoring in %s%s on %s", dtype, why, device())
            self._device_logged = True


def _lacking(item: Item, known: Mapping[Variant, Entry | None]) -> tuple[str, ...]:
    """The statistics of an item that any of its results is without."""
    return tuple(
        name
        for name in item.statistics
        if any(entry is None or name not in entry.statistics for entry in known.values())
    )


def _versions() -> dict[str, str]:
    """Versions of what a result depends on, the rule that made its tokens among them."""
    return versions() | {RULE_NAME: str(RULE)}
