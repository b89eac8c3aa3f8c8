"""Models beside a reference, one after another; what is measured is kept in the store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.quantize import quantised
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.checkpoint.sources.types import Resolved
from jaxmap.comparison.table import Comparison, Row, Size, row_of
from jaxmap.comparison.tokens import STATISTICS, TokenComparison
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens, load_tokenizer
from jaxmap.engine.reference import ReferenceModel
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store
from jaxmap.store.record import file_stem

FOLDER = "comparisons"  # of a store
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run compares.

    Fields:
      reference: what the others are compared with.
      refs: the models.
      quantisations: for each model: "none" is itself, the others are copies made here.
      dtype: the arithmetic of all, see PRECISIONS, or "auto".
      batch_tokens: tokens per batch; None: a default for the device.
      ignore_config_keys: keys of config.json declared without effect on the logits.
    """

    reference: Ref
    refs: tuple[Ref, ...]
    quantisations: tuple[str, ...] = ("none",)
    dtype: str = "auto"
    batch_tokens: int | None = None
    ignore_config_keys: tuple[str, ...] = ()


class _Side:
    """A checkpoint as found, and its tokens of the text set; the weights are read when wanted."""

    def __init__(self, ref: Ref, texts: TextSet, ignore: tuple[str, ...]):
        self.ref = ref
        self.resolved: Resolved = resolve(ref)
        folder = fetch(self.resolved).folder
        self.checkpoint = Checkpoint(folder, ignore)
        self._texts = texts
        self._tokenizer = load_tokenizer(folder)
        self._tokens: dict[int | None, Tokens] = {}

    @property
    def name(self) -> str:
        return str(self.ref)

    @property
    def context(self) -> int | None:
        return self.checkpoint.architecture.spec.context

    def tokens(self, context: int | None) -> Tokens:
        """The ids, cut to a context that both models have."""
        if context not in self._tokens:
            self._tokens[context] = self._tokenizer.encode(self._texts, context)
        return self._tokens[context]


def compare_models(asked: Asked, texts: TextSet, store: Store, command: str = "") -> Comparison:
    """Compares each model with the reference; a model that fails does not stop the others.

    The reference stays in memory beside each model. What was measured of the same files, texts and
    arithmetic before is read from the store.

    Raises InputError where the reference cannot be read.
    """
    runner = _Runner(asked, texts, store)
    found: list[Row] = []
    failures: list[tuple[str, JaxmapError]] = []
    for ref in asked.refs:
        try:
            found += runner.rows(ref)
        except JaxmapError as error:
            logging.error("%s: %s", ref, error)
            failures.append((str(ref), error))
    return Comparison(
        reference=runner.reference.name,
        found=tuple(found),
        texts_fingerprint=texts.fingerprint,
        failures=tuple(failures),
        command=command,
    )


class _Runner:
    """The reference, and what is the same for every model that is compared with it."""

    def __init__(self, asked: Asked, texts: TextSet, store: Store):
        self._asked = asked
        self._texts = texts
        self._folder = store.path / FOLDER
        self._scorers = Scorers()
        self._in_memory: ReferenceModel | None = None
        # The reference's own scores, and the tokens that they are of.
        self._its_own: tuple[Tokens, np.ndarray] | None = None
        self.reference = _Side(asked.reference, texts, asked.ignore_config_keys)

    def rows(self, ref: Ref) -> Iterator[Row]:
        """A row per quantisation of one model; the model itself is loaded once at most."""
        side = _Side(ref, self._texts, self._asked.ignore_config_keys)
        contexts = [c for c in (side.context, self.reference.context) if c is not None]
        context = min(contexts, default=None)
        theirs, tokens = self.reference.tokens(context), side.tokens(context)
        _check_same(self._texts, self.reference.name, theirs, side.name, tokens)
        model: weights.Model | None = None
        for quantisation in self._asked.quantisations:
            path = self._path(side, quantisation, tokens)
            if path.exists() and path.with_suffix(".json").exists():
                found = TokenComparison.load(path)
                size = Size(**json.loads(path.with_suffix(".json").read_bytes()))
            else:
                if model is None:
                    model = weights.load(side.checkpoint, dtype=self._asked.dtype)
                copy = quantised(model, quantisation)
                size = _size_of(copy)
                found = self._measure(copy, theirs, _label(side.name, quantisation))
                found.save(path)
                facts = json.dumps(dataclasses.asdict(size), indent=1)
                write_atomic(path.with_suffix(".json"), f"{facts}\n".encode())
            yield row_of(
                self.reference.name,
                _label(side.name, quantisation),
                size,
                found,
                self._texts.num_bytes,
            )

    def _measure(self, model: weights.Model, tokens: Tokens, desc: str) -> TokenComparison:
        if self._in_memory is None:
            loaded = weights.load(self.reference.checkpoint, dtype=self._asked.dtype)
            self._in_memory = ReferenceModel(self._scorers.of(loaded), loaded)
        reference = self._in_memory
        found = score_rows(
            self._scorers.of(model),
            model,
            tokens,
            statistics=tuple(STATISTICS.values()),
            per_token=True,
            reference=reference,
            batch_tokens=self._asked.batch_tokens,
            desc=desc,
        )
        return TokenComparison(
            reference_log_likelihood_M=self._reference_scores(reference, tokens),
            offsets_N1=found.offsets_N1,
            **{field: found.per_token[name] for field, name in STATISTICS.items()},
        )

    def _reference_scores(self, reference: ReferenceModel, tokens: Tokens) -> np.ndarray:
        """The reference's log-probability of each scored token; the last answer is kept."""
        if self._its_own is None or self._its_own[0] is not tokens:
            found = score_rows(
                self._scorers.of(reference.model),
                reference.model,
                tokens,
                per_token=True,
                batch_tokens=self._asked.batch_tokens,
                desc=self.reference.name,
            )
            self._its_own = tokens, found.per_token["log_likelihood"]
        return self._its_own[1]

    def _path(self, side: _Side, quantisation: str, tokens: Tokens) -> Path:
        """Named by all that the numbers depend on."""
        facts = {
            "format": _FORMAT,
            "reference": self.reference.resolved.commit,
            "model": side.resolved.commit,
            "quantisation": quantisation,
            "dtype": self._asked.dtype,
            "platform": jax.default_backend(),
            "texts": self._texts.fingerprint,
            "ids": hashlib.sha256(tokens.ids.tobytes() + tokens.offsets.tobytes()).hexdigest(),
            "ignored": sorted(self._asked.ignore_config_keys),
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        stem = file_stem(_label(side.name, quantisation), key)
        return self._folder / f"{stem}.safetensors"


def _label(name: str, quantisation: str) -> str:
    return name if quantisation == "none" else f"{name}+{quantisation}"


def _size_of(model: weights.Model) -> Size:
    """Of the files of a checkpoint, or of the arrays of a copy that was made in memory."""
    one = model.storage
    return Size(one.file_type or one.format, one.num_bytes, one.num_parameters)


def _check_same(texts: TextSet, reference: str, theirs: Tokens, model: str, ours: Tokens) -> None:
    """Raises InputError, naming the first text, unless both read every text as the same ids."""
    if np.array_equal(theirs.ids, ours.ids) and np.array_equal(theirs.offsets, ours.offsets):
        return
    for n in range(len(texts)):
        a = theirs.ids[theirs.offsets[n] : theirs.offsets[n + 1]]
        b = ours.ids[ours.offsets[n] : ours.offsets[n + 1]]
        if not np.array_equal(a, b):
            raise InputError(
                f"reads text {n} ({texts.texts[n]!r:.40}) as other tokens than {reference}: "
                f"{b[:6].tolist()}... and {a[:6].tolist()}...; only models with one tokenizer can "
                "be compared token by token; `jaxmap kl` compares any"
            )
