"""Models beside a reference, one after another; what is measured is kept in the store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.refs import Ref
from jaxmap.comparison import kept
from jaxmap.comparison.aligned import (
    AlignedComparison,
    aligned_details,
    aligned_views,
    worst_aligned_texts,
)
from jaxmap.comparison.asked import Asked
from jaxmap.comparison.copies import Copies
from jaxmap.comparison.details import details_of
from jaxmap.comparison.kept import Pair
from jaxmap.comparison.parts import TextRow, by_fields, by_kind, worst_texts
from jaxmap.comparison.rows import row_of
from jaxmap.comparison.sides import Side, shared_tokens
from jaxmap.comparison.states import kept_reference
from jaxmap.comparison.table import Compared, Comparison, Floor, floor_of
from jaxmap.comparison.tokens import STATISTICS, TokenComparison
from jaxmap.comparison.views import (
    LIKELIEST,
    TextView,
    chosen_texts,
    keep_likeliest,
    of_texts,
    read_likeliest,
    views_of,
)
from jaxmap.corpus.spans import byte_spans
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.reference import AnyReference, KeptReference, ReferenceModel
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.errors import InputError, JaxmapError
from jaxmap.stats.alignment import Spans
from jaxmap.store import Store


def compare_models(asked: Asked, texts: TextSet, store: Store, command: str = "") -> Comparison:
    """Compares each model with the reference; a model that fails does not stop the others.

    The reference stays in memory beside each model, or its states are kept. What was measured of
    the same files, texts and arithmetic before is read from the store.

    Raises InputError where the reference cannot be read.
    """
    runner = _Runner(asked, texts, store, command)
    found: list[Compared] = []
    failures: list[tuple[str, JaxmapError]] = []
    for ref in asked.refs:
        try:
            found += runner.compared(ref)
        except JaxmapError as error:
            logging.error("%s: %s", ref, error)
            failures.append((str(ref), error))
    return Comparison(
        reference=runner.reference.name,
        compared=tuple(found),
        texts_fingerprint=texts.fingerprint,
        reference_floor=runner.reference_floor() if asked.floor_dtype and found else None,
        failures=tuple(failures),
        command=command,
    )


class _Runner:
    """The reference, and what is the same for every model that is compared with it."""

    def __init__(self, asked: Asked, texts: TextSet, store: Store, command: str):
        self._asked = asked
        self._command = command
        self._texts = texts
        self._store = store.path
        self._scorers = Scorers()
        self._in_memory: ReferenceModel | None = None
        self._kept: tuple[Tokens, KeptReference] | None = None
        self._of_texts = by_fields(texts, asked.by)
        self._aligned_reference: tuple[np.ndarray, Spans] | None = None
        self._spans: tuple[Tokens, tuple[np.ndarray, np.ndarray]] | None = None
        self.reference = Side(asked.reference, texts, asked.ignore_config_keys)

    def compared(self, ref: Ref) -> Iterator[Compared]:
        """One per quantisation of one model; the model itself is loaded once at most."""
        side = Side(ref, self._texts, self._asked.ignore_config_keys)
        copies = Copies(side.checkpoint, self._asked.dtype, self._asked.floor_dtype)
        tokens = shared_tokens(self._texts, self.reference, side)
        if isinstance(tokens, str):
            logging.warning("%s: no token KL: %s", side.name, tokens)
            yield from self._aligned(side, copies, tokens)
            return
        for quantisation in self._asked.quantisations:
            label = _label(side.name, quantisation)
            facts = {
                "reference": self.reference.resolved.commit,
                "model": side.resolved.commit,
                "quantisation": quantisation,
                **({"states": 16} if self._asked.keep_states == 16 else {}),
                **self._facts(tokens),
            }
            path = kept.path_of(self._store, label, facts)
            if (known := kept.load(path)) is None:
                reference = self._reference_of(tokens)
                model = copies.get(quantisation)
                known = (
                    self._pair(self.reference.name, label, model),
                    self._measure(model, reference, tokens, label),
                )
                kept.save(path, *known)
            pair, found = known
            assert isinstance(found, TokenComparison)  # `path` says so
            floor = None
            if self._asked.floor_dtype:
                floor = self._floor(side, quantisation, tokens, copies)
            spans = self._spans_of(tokens)
            details = details_of(
                found,
                self._texts.num_bytes,
                of_texts=self._of_texts,
                of_tokens=by_kind(self._texts, spans, found.offsets_N1),
            )
            worst = worst_texts(found, self._texts, spans)
            views: tuple[TextView, ...] = ()
            if self._asked.page:
                views = self._views(path, worst, found, tokens, spans, copies, quantisation)
            row = row_of(pair, found, self._texts.num_bytes)
            yield Compared(row, tuple(details), floor, tuple(worst), views)

    def _aligned(self, side: Side, copies: Copies, why: str) -> Iterator[Compared]:
        """`compared` with a model whose tokens are others, between bytes where both end."""
        tokens, theirs = side.tokens(side.context), self.reference.tokens(self.reference.context)
        for quantisation in self._asked.quantisations:
            label = _label(side.name, quantisation)
            facts = {
                "aligned": self.reference.resolved.commit,
                "reference_ids": self._facts(theirs)["ids"],
                "model": side.resolved.commit,
                "quantisation": quantisation,
                **self._facts(tokens),
            }
            path = kept.path_of(self._store, label, facts)
            if (known := kept.load(path)) is None:
                model = copies.get(quantisation)
                ours_M = self._log_likelihoods(model, tokens, label)
                if self._aligned_reference is None:
                    loaded = self._in_memory or self._load_reference()
                    name = self.reference.name
                    theirs_L = self._log_likelihoods(loaded.model, theirs, name)
                    self._aligned_reference = theirs_L, self.reference.spans(theirs)
                numbers = AlignedComparison.of(ours_M, side.spans(tokens), *self._aligned_reference)
                pair = self._pair(self.reference.name, label, model)
                known = dataclasses.replace(pair, other_tokens=why), numbers
                kept.save(path, *known)
            pair, found = known
            assert isinstance(found, AlignedComparison)  # `path` says so
            floor = None
            if self._asked.floor_dtype:
                floor = self._floor(side, quantisation, tokens, copies)
            kinds = by_kind(self._texts, (found.start_S, found.end_S), found.offsets_N1)
            bytes_N = self._texts.num_bytes
            details = aligned_details(found, bytes_N, of_texts=self._of_texts, of_stretches=kinds)
            worst = worst_aligned_texts(found, self._texts)
            views = aligned_views(self._texts, found, worst) if self._asked.page else ()
            row = row_of(pair, found, bytes_N)
            yield Compared(row, tuple(details), floor, tuple(worst), views, pair.other_tokens)

    def _log_likelihoods(self, model: weights.Model, tokens: Tokens, desc: str) -> np.ndarray:
        """Of each scored token, nats, float32 [M]."""
        return score_rows(
            self._scorers.of(model),
            model,
            tokens,
            per_token=True,
            batch_tokens=self._asked.batch_tokens,
            desc=desc,
        ).per_token["log_likelihood"]

    def _spans_of(self, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of each scored token; the last answer is kept."""
        if self._spans is None or self._spans[0] is not tokens:
            self._spans = tokens, byte_spans(self.reference.tokenizer, self._texts, tokens)
        return self._spans[1]

    def _views(
        self,
        path: Path,
        worst: Sequence[TextRow],
        found: TokenComparison,
        tokens: Tokens,
        spans: tuple[np.ndarray, np.ndarray],
        copies: Copies,
        quantisation: str,
    ) -> tuple[TextView, ...]:
        """The texts that differ most, and one that differs as most do, token by token."""
        chosen = chosen_texts(found, worst)
        kept_at = path.with_name(f"{path.stem}.likeliest.npz")
        if (arrays := read_likeliest(kept_at, chosen)) is None:
            reference = self._reference_of(tokens)
            if isinstance(reference, KeptReference):
                reference = reference.of_texts(chosen)
            model = copies.get(quantisation)
            scored = score_rows(
                self._scorers.of(model),
                model,
                of_texts(tokens, chosen),
                statistics=LIKELIEST,
                per_token=True,
                reference=reference,
                batch_tokens=self._asked.batch_tokens,
                desc="likeliest tokens",
            )
            arrays = {name: scored.per_token[name] for name in LIKELIEST}
            keep_likeliest(kept_at, chosen, arrays)
        pieces = self.reference.tokenizer.reading.pieces
        return views_of(self._texts, chosen, found, spans, arrays, pieces)

    def reference_floor(self) -> Floor:
        """The reference beside itself in the other arithmetic."""
        tokens = self.reference.tokens(self.reference.context)
        there = None if self._in_memory is None else self._in_memory.model
        dtypes = self._asked.dtype, self._asked.floor_dtype
        copies = Copies(self.reference.checkpoint, *dtypes, there)
        return self._floor(self.reference, "none", tokens, copies)

    def _floor(self, side: Side, quantisation: str, tokens: Tokens, copies: Copies) -> Floor:
        """A copy beside itself in the other arithmetic."""
        label, other = _label(side.name, quantisation), self._asked.floor_dtype
        facts = {
            "floor": side.resolved.commit,
            "quantisation": quantisation,
            "floor_dtype": other,
            **self._facts(tokens),
        }
        path = kept.path_of(self._store, f"{label}+{other}", facts)
        if (known := kept.load(path)) is None:
            model = copies.get(quantisation)
            if model.dtype == other:
                raise InputError(f"{other} is the arithmetic compared in", field="floor_dtype")
            itself = ReferenceModel(self._scorers.of(model), model)
            moved = copies.in_other(quantisation)
            pair = self._pair(label, label, moved)
            pair = dataclasses.replace(pair, reference_dtype=model.dtype)
            known = pair, self._measure(moved, itself, tokens, f"{label}, {other}")
            kept.save(path, *known)
        return floor_of(*known, self._texts.num_bytes)

    def _measure(
        self, model: weights.Model, reference: AnyReference, tokens: Tokens, desc: str
    ) -> TokenComparison:
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
        return TokenComparison.of(found.per_token, found.offsets_N1)

    def _reference_of(self, tokens: Tokens) -> AnyReference:
        """The reference in memory, or by its states where these are kept."""
        if not self._asked.keep_states:
            if self._in_memory is None:
                self._in_memory = self._load_reference()
            return self._in_memory
        if self._kept is None or self._kept[0] is not tokens:
            self._kept = None
            loaded = self._load_reference()
            facts = {
                "states": self.reference.resolved.commit,
                "bits": self._asked.keep_states,
                "batch_tokens": self._asked.batch_tokens,
                **self._facts(tokens),
            }
            path = kept.path_of(self._store, f"{self.reference.name}+states", facts)
            self._kept = (
                tokens,
                kept_reference(
                    path.with_suffix(".npy"),
                    loaded,
                    self._scorers.of(loaded.model),
                    tokens,
                    bits=self._asked.keep_states,
                    budget=self._asked.states_budget,
                    batch_tokens=self._asked.batch_tokens,
                ),
            )
        return self._kept[1]

    def _load_reference(self) -> ReferenceModel:
        loaded = weights.load(self.reference.checkpoint, dtype=self._asked.dtype)
        return ReferenceModel(self._scorers.of(loaded), loaded)

    def _pair(self, reference: str, label: str, model: weights.Model) -> Pair:
        one = model.storage
        return Pair(
            reference,
            label,
            format=one.file_type or one.format,
            num_bytes=one.num_bytes,
            num_parameters=one.num_parameters,
            dtype=model.dtype,
            texts=self._texts.fingerprint,
            command=self._command,
        )

    def _facts(self, tokens: Tokens) -> dict[str, Any]:
        """What the numbers of any comparison depend on."""
        ids = tokens.ids.tobytes() + tokens.offsets.tobytes() + tokens.first_scored.tobytes()
        return {
            "dtype": self._asked.dtype,
            "platform": jax.default_backend(),
            "texts": self._texts.fingerprint,
            "ids": hashlib.sha256(ids).hexdigest(),
            "ignored": sorted(self._asked.ignore_config_keys),
        }


def _label(name: str, quantisation: str) -> str:
    return name if quantisation == "none" else f"{name}+{quantisation}"
