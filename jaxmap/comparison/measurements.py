"""The numbers of a comparison: measured, or read from the store where they are there already."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxmap.checkpoint import weights
from jaxmap.comparison import stored_comparison
from jaxmap.comparison.alignment import AlignedComparison
from jaxmap.comparison.identity import common_facts, hash_of_ids
from jaxmap.comparison.layers import LensOf, by_layer
from jaxmap.comparison.options import ComparisonOptions
from jaxmap.comparison.quantised_copies import Copies
from jaxmap.comparison.reference import ComparisonReference
from jaxmap.comparison.sides import Side
from jaxmap.comparison.stored_comparison import Numbers, Pair
from jaxmap.comparison.table import Floor, floor_of
from jaxmap.comparison.token_comparison import STATISTICS, TokenComparison
from jaxmap.comparison.token_views import LIKELIEST, keep_likeliest, of_texts, read_likeliest
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.reference import AnyReference, KeptReference, ReferenceModel
from jaxmap.engine.scorer import Lens, Scorers
from jaxmap.engine.scores import Scores, score_rows
from jaxmap.engine.statistics import DEFAULT
from jaxmap.errors import InputError
from jaxmap.lens.tuned_lens import find_lens
from jaxmap.stats.alignment import Spans
from jaxmap.store import Store
from jaxmap.variant import Variant

Read = TypeVar("Read")  # what a comparison needs of the reference
Likeliest = Mapping[str, np.ndarray] | None


class Measured(NamedTuple):
    """A model, a copy or a layer beside the reference, as the store keeps it.

    Fields:
      path: the file of the numbers.
      pair: what was compared with what.
      found: the numbers.
      likeliest: of a model that was measured just now, what it and the reference find likeliest at
        every token, see LIKELIEST; None: not known.
    """

    path: Path
    pair: Pair
    found: Numbers
    likeliest: Likeliest = None


class Measurements:
    """Measures models beside one reference; everything measured is kept in the store.

    Args:
      options: options of the run.
      texts: the text set.
      store: the store.
      command: what somebody typed for it; "": not known.
    """

    def __init__(self, options: ComparisonOptions, texts: TextSet, store: Store, command: str):
        self._options, self._texts, self._store = options, texts, store
        self._command = command
        self._scorers = Scorers()
        self.reference = ComparisonReference(options, texts, store, self._scorers)

    def copies(self, side: Side) -> Copies:
        """The copies of a model; it is loaded when the first one is wanted."""
        return Copies(side.checkpoint, self._options.dtype, self._options.floor_dtype)

    def by_token(
        self, side: Side, quantisation: str, tokens: Tokens, copies: Copies
    ) -> Iterator[Measured]:
        """A model that reads the ids of the reference, or a copy of it, and then its layers."""
        facts = {
            "reference": self.reference.side.resolved.commit,
            "model": side.resolved.commit,
            "quantisation": quantisation,
            **({"states": 16} if self._options.keep_states == 16 else {}),
            **common_facts(self._options, self._texts, tokens),
        }

        def measure(
            model: weights.Model, reference: AnyReference, lens: Lens, desc: str
        ) -> Iterator[tuple[Numbers, Likeliest]]:
            # The likeliest tokens come from what the statistics need anyway. Of all layers they
            # would take much memory: with a lens they are found in a pass over a few texts.
            more = LIKELIEST if lens is False else ()
            wanted = (*STATISTICS.values(), *more)
            scores = self._scores(model, tokens, desc, wanted, reference, lens)
            likeliest = {name: scores.per_token[name] for name in more} or None
            for per_token in by_layer(scores.per_token, lens):
                yield TokenComparison.of(per_token, scores.offsets_N1), likeliest

        # The reference is read first: with kept states it is gone before the model comes.
        read = partial(self.reference.on, tokens, side)
        return self._read_or_measure(side, quantisation, copies, facts, read, measure)

    def by_stretch(
        self, side: Side, quantisation: str, tokens: Tokens, copies: Copies, why: str
    ) -> Iterator[Measured]:
        """`by_token` with a model whose tokens are others, between bytes where both end."""
        reference = self.reference.side
        facts = {
            "aligned": reference.resolved.commit,
            "reference_ids": hash_of_ids(reference.tokens(reference.context)),
            "model": side.resolved.commit,
            "quantisation": quantisation,
            **common_facts(self._options, self._texts, tokens),
        }

        def measure(
            model: weights.Model, theirs: tuple[np.ndarray, Spans], lens: Lens, desc: str
        ) -> Iterator[tuple[Numbers, Likeliest]]:
            scores, spans = self._scores(model, tokens, desc, lens=lens), side.spans(tokens)
            for per_token in by_layer(scores.per_token, lens):
                yield AlignedComparison.of(per_token["log_likelihood"], spans, *theirs), None

        read = partial(self.reference.own_log_likelihoods, side)
        return self._read_or_measure(side, quantisation, copies, facts, read, measure, why)

    def _read_or_measure(
        self,
        side: Side,
        quantisation: str,
        copies: Copies,
        facts: Mapping[str, Any],
        read_reference: Callable[[], Read],
        measure: Callable[[weights.Model, Read, Lens, str], Iterator[tuple[Numbers, Likeliest]]],
        other_tokens: str = "",
    ) -> Iterator[Measured]:
        """The model's own output first, then its layers, all measured in one pass."""
        lens = self._lens_of(side, quantisation)
        label = f"{side.name}{Variant(quantisation=quantisation).label}"
        labels, paths = [label], [stored_comparison.path_of(self._store.path, label, dict(facts))]
        if lens:
            for layer in range(side.checkpoint.architecture.spec.L):
                own = Variant(quantisation=quantisation, layer=layer, lens=lens.name)
                labels.append(f"{side.name}{own.label}")
                of_layer = {**facts, "lens": lens.name, "layer": layer}
                paths.append(stored_comparison.path_of(self._store.path, labels[-1], of_layer))
        known, likeliest = [stored_comparison.load(path) for path in paths], None
        if not all(known):
            reference = read_reference()
            model = copies.get(quantisation)
            # Layers that are there are measured again only if another one is missing.
            through: Lens = False if lens is None or all(known[1:]) else lens.read(side, model)
            found = list(measure(model, reference, through, label))
            found = [found[-1], *found[:-1]]
            for number, (numbers, of_tokens) in enumerate(found):
                if number == 0:
                    likeliest = of_tokens
                if known[number] is None:
                    pair = dataclasses.replace(
                        self._pair(self.reference.name, labels[number], model),
                        layer=number - 1 if number else None,
                        other_tokens=other_tokens,
                    )
                    stored_comparison.save(paths[number], pair, numbers)
                    known[number] = pair, numbers
        for number, (path, one) in enumerate(zip(paths, known, strict=True)):
            assert one is not None
            yield Measured(path, *one, None if number else likeliest)

    def _lens_of(self, side: Side, quantisation: str) -> LensOf | None:
        """The lens through which the layers of a model are read; copies have none."""
        if not self._options.lens or quantisation != "none":
            return None
        if self._options.tuned_lens:
            ref = side.ref
            return LensOf(find_lens(Path(self._options.tuned_lens), ref.name, ref.revision))
        return LensOf(None)

    def likeliest(
        self,
        one: Measured,
        chosen: Sequence[int],
        side: Side,
        tokens: Tokens,
        copies: Copies,
        quantisation: str,
    ) -> dict[str, np.ndarray]:
        """What both models find likeliest at every token of a few texts, see LIKELIEST.

        The answer is kept beside the file of the comparison.

        Args:
          one: the comparison.
          chosen: the texts.
          side, copies, quantisation: the model.
          tokens: of all texts.
        """
        kept_at = one.path.with_name(f"{one.path.stem}.likeliest.npz")
        if (arrays := read_likeliest(kept_at, chosen)) is not None:
            return arrays
        if one.likeliest is not None:
            start_N1 = np.concatenate([[0], np.cumsum(tokens.num_scored, dtype=np.int64)])
            places = [np.arange(*start_N1[n : n + 2].tolist()) for n in chosen]
            at = np.concatenate([np.zeros(0, np.int64), *places])
            arrays = {name: value[at] for name, value in one.likeliest.items()}
        else:
            reference = self.reference.on(tokens, side)
            if isinstance(reference, KeptReference):
                reference = reference.of_texts(chosen)
            model = copies.get(quantisation)
            few = of_texts(tokens, chosen)
            scored = self._scores(model, few, "likeliest tokens", LIKELIEST, reference)
            arrays = {name: scored.per_token[name] for name in LIKELIEST}
        keep_likeliest(kept_at, chosen, arrays)
        return arrays

    def reference_floor(self) -> Floor:
        """The reference beside itself in the other arithmetic."""
        self.reference.check_whole("floor_dtype")
        side = self.reference.side
        dtypes = self._options.dtype, self._options.floor_dtype
        copies = Copies(side.checkpoint, *dtypes, self.reference.model)
        return self.floor(side, "none", side.tokens(side.context), copies)

    def floor(self, side: Side, quantisation: str, tokens: Tokens, copies: Copies) -> Floor:
        """A copy beside itself in the other arithmetic."""
        label = f"{side.name}{Variant(quantisation=quantisation).label}"
        dtype = self._options.floor_dtype
        facts = {
            "floor": side.resolved.commit,
            "quantisation": quantisation,
            "floor_dtype": dtype,
            **common_facts(self._options, self._texts, tokens),
        }
        path = stored_comparison.path_of(self._store.path, f"{label}+{dtype}", facts)
        if (known := stored_comparison.load(path)) is None:
            model = copies.get(quantisation)
            if model.dtype == dtype:
                raise InputError(f"{dtype} is the arithmetic compared in", field="floor_dtype")
            itself = ReferenceModel(self._scorers.of(model), model)
            moved = copies.in_other(quantisation)
            desc = f"{label}, {dtype}"
            scores = self._scores(moved, tokens, desc, STATISTICS.values(), itself)
            pair = self._pair(label, label, moved)
            pair = dataclasses.replace(pair, reference_dtype=model.dtype)
            known = pair, TokenComparison.of(scores.per_token, scores.offsets_N1)
            stored_comparison.save(path, *known)
        return floor_of(*known, self._texts.num_bytes)

    def _scores(
        self,
        model: weights.Model,
        tokens: Tokens,
        desc: str,
        statistics: Collection[str] = DEFAULT,
        reference: AnyReference | None = None,
        lens: Lens = False,
    ) -> Scores:
        return score_rows(
            self._scorers.of(model),
            model,
            tokens,
            statistics=tuple(statistics),
            per_token=True,
            reference=reference,
            lens=lens,
            batch_tokens=self._options.batch_tokens,
            desc=desc,
        )

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
