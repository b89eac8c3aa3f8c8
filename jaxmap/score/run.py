"""Checkpoints to a store: resolve, fetch, load, score, keep; one model after another."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from absl import logging

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.files import TOKENIZER, CheckpointFiles, Resolved, fetch, resolve
from jaxmap.checkpoint.quantize import quantised
from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import TextTokenizer, Tokens, load_tokenizer
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress
from jaxmap.score.scorer import Scorers, score_rows
from jaxmap.store import Store
from jaxmap.store.record import Identity, Provenance, Record
from jaxmap.store.work import Failure, Item, parse_quantisations
from jaxmap.version import __version__


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run did: labels of items scored now, found finished, and failed with their reasons."""

    scored: list[str] = dataclasses.field(default_factory=list)
    found: list[str] = dataclasses.field(default_factory=list)
    failed: list[Failure] = dataclasses.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when all is done, 2 when only bad input stood in the way, else 1."""
        if not self.failed:
            return 0
        return 2 if all(f.kind == "input" for f in self.failed) else 1


class _Tokenizers:
    """Tokenises the text set once for each tokenizer and context of a run."""

    def __init__(self, texts: TextSet):
        self._texts = texts
        self._tokenizers: dict[str, TextTokenizer] = {}
        self._tokens: dict[tuple[str, int], Tokens] = {}

    def encode(self, folder: Path, context: int) -> tuple[TextTokenizer, Tokens]:
        files = _tokenizer_contents(folder)
        if files not in self._tokenizers:
            self._tokenizers[files] = load_tokenizer(folder)
        tokenizer = self._tokenizers[files]
        key = (tokenizer.fingerprint, context)
        if key not in self._tokens:
            with progress(len(self._texts), "tokenise", "text", leave=False) as bar:
                self._tokens[key] = tokenizer.encode(self._texts, context, bar.update)
        return tokenizer, self._tokens[key]


def _tokenizer_contents(folder: Path) -> str:
    """A hash of all that decides a folder's tokenizer, its config.json included."""
    digest = hashlib.sha256()
    names = {path for pattern in ("config.json", *TOKENIZER) for path in folder.glob(pattern)}
    for path in sorted(names):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def score_models(
    refs: Sequence[Ref],
    texts: TextSet,
    store: Store,
    *,
    dtype: str = "auto",
    lens: bool = False,
    quantize: Sequence[str] = ("none",),
    batch_tokens: int | None = None,
    ignore_config_keys: Sequence[str] = (),
) -> Outcome:
    """Scores every model that the store does not have yet and keeps each as soon as it is done.

    A model that fails leaves its reason in the store and the others go on. What is finished is
    recognised by the model's commit (a folder's contents), the texts, the dtype and the
    quantisation. A checkpoint is loaded once for all that is asked of it.

    Args:
      refs: the models.
      texts: the text set of the store.
      store: open for writing.
      dtype: of weights and activations; auto: float32 on CPU, as stored on GPU, bfloat16 on TPU.
      lens: whether to score every layer of the model itself through the logit lens too.
      quantize: of work.QUANTISATIONS; each is a result of its own, none the model itself.
      batch_tokens: tokens of a batch; None: a default for the device.
      ignore_config_keys: keys of config.json declared without effect on the logits.

    Raises InputError for an unknown quantisation, else JaxmapError only where the store itself
    cannot be written.
    """
    variants = parse_quantisations(quantize)
    run = _Run(texts, store, dtype, batch_tokens, tuple(ignore_config_keys))
    items = [
        [Item(ref.name, ref.revision, dtype, v, lens=lens and v == "none") for v in variants]
        for ref in refs
    ]
    store.ask(item for of_ref in items for item in of_ref)
    outcome = Outcome()
    for i, (ref, of_ref) in enumerate(zip(refs, items, strict=True), start=1):
        run.one(ref, of_ref, f"[{i}/{len(refs)}] ", outcome)
    return outcome


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A checkpoint in memory, and the texts as its tokenizer reads them."""

    resolved: Resolved
    files: CheckpointFiles
    model: weights.Model
    tokenizer: TextTokenizer
    tokens: Tokens


@dataclasses.dataclass
class _Run:
    texts: TextSet
    store: Store
    dtype: str
    batch_tokens: int | None
    ignore_config_keys: tuple[str, ...]

    def __post_init__(self):
        self.scorers = Scorers()
        self.tokenizers = _Tokenizers(self.texts)
        self.told = False

    def one(self, ref: Ref, items: Sequence[Item], desc: str, outcome: Outcome) -> None:
        """Scores what is missing of one checkpoint, or notes why not.

        Only a store that cannot be written stops the run.
        """
        commit, missing = None, list(items)
        started = time.perf_counter()
        try:
            resolved = resolve(ref, lambda ref: self.store.known_files(ref.name, ref.revision))
            commit = resolved.commit
            missing = [item for item in items if not self.store.is_done(item, commit)]
            for item in items:
                if item not in missing:
                    outcome.found.append(item.label)
                    self.store.settle(item, commit)
            if not missing:
                return
            loaded = self._load(resolved, fetch(resolved))
        except Exception as error:
            for item in missing:
                self._fail(item, commit, error, outcome)
            return
        for item in missing:
            try:
                records = self._score(loaded, item, desc + item.label, started)
            except Exception as error:
                self._fail(item, commit, error, outcome)
                continue
            for record in records:
                self.store.add(record)
            outcome.scored.append(item.label)
            started = time.perf_counter()  # loading counts for the first of them

    def _fail(self, item: Item, commit: str | None, error: Exception, outcome: Outcome) -> None:
        failure = _failure(item, commit, error)
        self.store.add_failure(failure)
        outcome.failed.append(failure)
        logging.error("%s: %s", item.label, failure.reason)

    def _load(self, resolved: Resolved, files: CheckpointFiles) -> _Loaded:
        # The tokenizer first: it is cheap, and a checkpoint without one need not be loaded.
        _, spec, _ = weights.read_config(files.folder, self.ignore_config_keys)
        tokenizer, tokens = self.tokenizers.encode(files.folder, spec.context)
        model = weights.load(
            files.folder, dtype=self.dtype, ignore_config_keys=self.ignore_config_keys
        )
        self._tell(model.dtype)
        if tokens.truncated.any():
            logging.warning(
                "%s: %d of %d texts are longer than the model's context of %d tokens and were cut",
                resolved.ref,
                tokens.truncated.sum(),
                len(tokens),
                spec.context,
            )
        return _Loaded(resolved, files, model, tokenizer, tokens)

    def _score(self, loaded: _Loaded, item: Item, desc: str, started: float) -> list[Record]:
        """The record of the model or its quantised copy, and with the lens one for each layer."""
        resolved, tokens, lens = loaded.resolved, loaded.tokens, item.lens
        model = quantised(loaded.model, item.quantisation)
        ll_RN = score_rows(
            self.scorers.of(model),
            model,
            tokens,
            lens=lens,
            batch_tokens=self.batch_tokens,
            desc=desc,
        )
        default = weights.default_dtype(jax.default_backend(), model.stored_dtype)
        identity = Identity(
            ref=resolved.ref.name,
            revision=resolved.ref.revision,
            commit=resolved.commit,
            texts=self.texts.fingerprint,
            tokenizer=loaded.tokenizer.fingerprint,
            special_rule=loaded.tokenizer.special_rule,
            dtype=model.dtype,
            quantisation=model.quantisation,
        )
        provenance = Provenance(
            is_default_dtype=model.dtype == default,
            num_layers=model.spec.L,
            truncated=int(tokens.truncated.sum()),
            context=model.spec.context,
            versions=versions(),
            device=device(),
            seconds=round(time.perf_counter() - started, 3),
            files=tuple(tuple(stat) for stat in loaded.files.files),
            model={
                "model_type": model.model_type,
                "num_parameters": model.num_parameters,
                "stored_dtype": model.stored_dtype,
            },
        )
        known = self.store.find(identity) if lens else None
        if known is not None:  # scored before without the lens: one result, the same bits
            ll_RN[-1] = self.store.load(known).log_likelihood
        rows: list[tuple[int | None, np.ndarray]] = [(None, ll_RN[-1])]
        if lens:
            rows += list(enumerate(ll_RN))
        return [
            Record(
                dataclasses.replace(identity, layer=layer),
                provenance,
                ll_N,
                tokens.lengths,
                tokens.num_scored,
            )
            for layer, ll_N in rows
        ]

    def _tell(self, dtype: str) -> None:
        """Says once which dtype and device a run uses."""
        if not self.told:
            why = " (--dtype=auto)" if self.dtype == "auto" else ""
            logging.info("scoring in %s%s on %s", dtype, why, device())
            self.told = True


def _failure(item: Item, commit: str | None, error: Exception) -> Failure:
    if isinstance(error, JaxmapError):
        kind: Literal["input", "failure"] = "input" if isinstance(error, InputError) else "failure"
        return Failure(item, str(error), kind, commit=commit, versions=versions())
    logging.debug("%s", item.label, exc_info=error)
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
    return Failure(item, reason, "failure", commit=commit, versions=versions())


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names: Iterable[str] = ("jax", "jaxlib", "flax", "numpy", "tokenizers", "transformers")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"jaxmap": __version__, "python": platform.python_version(), **found}


def device() -> str:
    """The devices that score, "2 x gpu NVIDIA H200"."""
    devices = jax.devices()
    kind = devices[0].device_kind
    platform_name = devices[0].platform
    return f"{len(devices)} x {platform_name}" + (f" {kind}" if kind != platform_name else "")
