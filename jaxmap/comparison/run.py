"""Models beside a reference, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from jaxmap.checkpoint.refs import Ref
from jaxmap.comparison import stored_texts
from jaxmap.comparison.alignment import (
    AlignedComparison,
    aligned_details,
    aligned_views,
    worst_aligned_texts,
)
from jaxmap.comparison.details import details_of
from jaxmap.comparison.measurements import Measured, Measurements
from jaxmap.comparison.options import ComparisonOptions
from jaxmap.comparison.quantised_copies import Copies
from jaxmap.comparison.sides import INSTEAD, Side, shared_tokens
from jaxmap.comparison.stored_texts import KeptTexts
from jaxmap.comparison.subsets import by_fields, by_kind, worst_texts
from jaxmap.comparison.table import Compared, Comparison, Floor
from jaxmap.comparison.table_row import row_of
from jaxmap.comparison.token_comparison import TokenComparison
from jaxmap.comparison.token_views import TextView, chosen_texts, views_of
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokens import Tokens
from jaxmap.errors import JaxmapError, without_name
from jaxmap.lens.training_texts import warn_of_seen_texts
from jaxmap.store import Store


def compare_models(
    options: ComparisonOptions, texts: TextSet, store: Store, command: str = ""
) -> Comparison:
    """Compares each model with the reference; a model that fails does not stop the others.

    What was measured of the same files, texts and arithmetic before is read from the store.

    Raises InputError if the reference cannot be read.
    """
    runner = _Runner(options, texts, Measurements(options, texts, store, command))
    if options.lens and options.tuned_lens:
        models = [(ref.name, ref.revision) for ref in options.refs]
        warn_of_seen_texts(Path(options.tuned_lens), models, texts)
    found: list[Compared] = []
    failures: list[tuple[str, JaxmapError]] = []
    for ref in options.refs:
        try:
            found += runner.compared(ref)
        except JaxmapError as error:
            logging.error("%s: %s", ref, without_name(error, str(ref), ref.name))
            failures.append((str(ref), error))
    return Comparison(
        reference=runner.reference.name,
        compared=tuple(found),
        texts_fingerprint=texts.fingerprint,
        reference_floor=runner.reference_floor() if options.floor_dtype and found else None,
        failures=tuple(failures),
        command=command,
        page=options.page,
    )


class _Runner:
    """Arranges what is measured of each model; keeps what is the same for all of them."""

    def __init__(self, options: ComparisonOptions, texts: TextSet, measurements: Measurements):
        self._options, self._texts = options, texts
        self._measurements = measurements
        self._of_texts = by_fields(texts, options.by)
        self._of_tokens: tuple[Tokens, tuple[np.ndarray, np.ndarray], dict[str, Any]] | None = None
        self.reference = measurements.reference.side

    def reference_floor(self) -> Floor:
        """The reference beside itself in the other arithmetic."""
        return self._measurements.reference_floor()

    def compared(self, ref: Ref) -> Iterator[Compared]:
        """The model, its copies and its layers; the model itself is loaded once at most."""
        side = Side(ref, self._texts, self._options.ignore_config_keys)
        copies = self._measurements.copies(side)
        tokens = shared_tokens(self._texts, self.reference, side)
        if isinstance(tokens, str):
            logging.warning("%s: no token KL: %s. %s", side.name, tokens, INSTEAD)
        for quantisation in self._options.quantisations:
            if isinstance(tokens, str):
                yield from self._by_stretch(side, quantisation, copies, tokens)
            else:
                yield from self._by_token(side, quantisation, copies, tokens)

    def _by_token(
        self, side: Side, quantisation: str, copies: Copies, tokens: Tokens
    ) -> Iterator[Compared]:
        spans, kinds = self._kinds_of(tokens)
        for one in self._measurements.by_token(side, quantisation, tokens, copies):
            found = one.found
            assert isinstance(found, TokenComparison)  # tokens are the same
            details = details_of(
                found, self._texts.num_bytes, of_texts=self._of_texts, of_tokens=kinds
            )
            worst = worst_texts(found, self._texts, spans)
            views: tuple[TextView, ...] = ()
            if one.pair.layer is None:
                chosen = chosen_texts(found, worst)
                arrays = self._measurements.likeliest(
                    one, chosen, side, tokens, copies, quantisation
                )
                pieces = self.reference.tokenizer.reading.pieces
                views = views_of(self._texts, chosen, found, spans, arrays, pieces)
            about = KeptTexts(tuple(details), tuple(worst), views)
            floor = self._floor(one, side, quantisation, tokens, copies)
            yield _compared(one, self._texts.num_bytes, about, floor)

    def _by_stretch(
        self, side: Side, quantisation: str, copies: Copies, why: str
    ) -> Iterator[Compared]:
        """`_by_token` with a model whose tokens are others, between bytes where both end."""
        tokens, bytes_N = side.tokens(side.context), self._texts.num_bytes
        kinds: dict[str, np.ndarray] | None = None
        for one in self._measurements.by_stretch(side, quantisation, tokens, copies, why):
            found = one.found
            assert isinstance(found, AlignedComparison)  # tokens are others
            if kinds is None:
                kinds = by_kind(self._texts, (found.start_S, found.end_S), found.offsets_N1)
            details = aligned_details(found, bytes_N, of_texts=self._of_texts, of_stretches=kinds)
            worst = worst_aligned_texts(found, self._texts)
            shown = one.pair.layer is None
            views = aligned_views(self._texts, found, worst) if shown else ()
            about = KeptTexts(tuple(details), tuple(worst), views)
            floor = self._floor(one, side, quantisation, tokens, copies)
            yield _compared(one, bytes_N, about, floor)

    def _floor(
        self, one: Measured, side: Side, quantisation: str, tokens: Tokens, copies: Copies
    ) -> Floor | None:
        if not self._options.floor_dtype or one.pair.layer is not None:
            return None
        return self._measurements.floor(side, quantisation, tokens, copies)

    def _kinds_of(
        self, tokens: Tokens
    ) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
        """The bytes of each scored token, and the kinds of tokens; the last answer is kept."""
        if self._of_tokens is None or self._of_tokens[0] is not tokens:
            spans = byte_spans(self.reference.tokenizer, self._texts, tokens)
            offsets_N1 = np.concatenate([[0], np.cumsum(tokens.num_scored, dtype=np.int64)])
            self._of_tokens = tokens, spans, by_kind(self._texts, spans, offsets_N1)
        return self._of_tokens[1:]


def _compared(
    one: Measured, bytes_N: np.ndarray, about: KeptTexts, floor: Floor | None
) -> Compared:
    """The result about one model; what it says of the texts is kept for the report."""
    stored_texts.keep(one.path, about)
    row, pair = row_of(one.pair, one.found, bytes_N), one.pair
    return Compared(
        row, about.details, floor, about.worst, about.views, pair.other_tokens, pair.layer
    )
